"""LoRA on vLLM's CPU backend as one matrix product an adapter: a `vllm.general_plugins` hook.

The stock operations fetch an adapter's two matrices once for every token. A batch has
few adapters, so here the rows of each are gathered once a step and every linear layer runs
two small products over them. Rows without an adapter are not written at all, while the stock
operations take their index -1 for the last slot. A layer an adapter does not target is
skipped: vLLM wraps all linear layers and fills those with zeros.

vLLM calls `register` in each of its processes, and logs
"Using GroupedPunicaWrapperCPU." once the operations here are the ones in use. vLLM is
imported only inside the functions, since it is still starting when it loads plugins.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch

from medsent.errors import EngineError

_STOCK = "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"
_CLASS = "GroupedPunicaWrapperCPU"

_Method = TypeVar("_Method", bound=Callable[..., Any])


def register() -> None:
    """Make vLLM's CPU platform use the operations of this module; elsewhere do nothing.

    Safe to call again. A wrapper that another plugin has put in the stock one's place
    is left there.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu() or current_platform.get_punica_wrapper() != _STOCK:
        return
    platform: Any = type(current_platform)
    platform.get_punica_wrapper = classmethod(lambda _: f"{__name__}.{_CLASS}")


@dataclass(frozen=True)
class Group:
    """The rows of a batch that belong to one adapter."""

    slot: int
    """The adapter's index in the stacks of weights."""
    rows: slice | torch.Tensor
    """A slice where the rows are neighbours, else their ascending numbers, (n,)."""

    def take(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the group's rows of a (tokens, width) matrix: a view, or else a copy."""
        if isinstance(self.rows, slice):
            return matrix[self.rows]
        return matrix.index_select(0, self.rows)

    def put(self, matrix: torch.Tensor, part: torch.Tensor) -> None:
        """Write back what `take` returned, changed in place, if it was a copy."""
        if isinstance(self.rows, slice):
            return
        # NumPy assigns whole rows six times as fast as index_copy_ does; it knows no
        # bfloat16, but a copy needs only the bytes.
        _bytes(matrix)[self.rows.numpy()] = _bytes(part)


def group_tokens(slots: torch.Tensor) -> tuple[Group, ...]:
    """Group the rows of a batch by adapter; a slot below 0 is a row without one.

    `slots` is (tokens,), integers, on the CPU.
    """
    numbers = slots.numpy()
    groups = []
    for slot in np.unique(numbers[numbers >= 0]).tolist():
        rows = np.flatnonzero(numbers == slot)
        first, last = int(rows[0]), int(rows[-1])
        neighbours = last - first + 1 == len(rows)
        groups.append(Group(slot, slice(first, last + 1) if neighbours else torch.from_numpy(rows)))
    return tuple(groups)


def add_linear(
    y: torch.Tensor,
    x: torch.Tensor,
    stacks_a: Sequence[torch.Tensor],
    stacks_b: Sequence[torch.Tensor],
    widths: Sequence[int],
    groups: Iterable[Group],
    scale: float = 1.0,
) -> None:
    """Add `scale * x A^T B^T` of each row's adapter to its row of `y`, in place.

    `y` is (tokens, sum of `widths`), `x` is (tokens, inputs). A layer packed from k
    layers (q, k and v) has k pairs of stacks, (slots, 1, rank, inputs) and
    (slots, 1, width, rank), and each pair adds to its own `width` columns of `y`.
    """
    columns = list(_columns(widths))
    for group in groups:
        used = [
            (stack_a[group.slot, 0], stack_b[group.slot, 0], span)
            for stack_a, stack_b, span in zip(stacks_a, stacks_b, columns, strict=True)
            if _bytes(stack_a[group.slot, 0]).any()
        ]
        if not used:
            continue
        inputs, outputs = group.take(x), group.take(y)
        for matrix_a, matrix_b, span in used:
            shrunk = (inputs @ matrix_a.to(x.dtype).T).to(y.dtype)
            # One fused call: the sum is kept in float32 and rounded once, and no (n, width)
            # temporary is written and read again.
            outputs[:, span].addmm_(shrunk, matrix_b.to(y.dtype).T, alpha=scale)
        group.put(y, outputs)


def _columns(widths: Sequence[int]) -> Iterator[slice]:
    """Yield the columns of each packed layer, one after the other."""
    first = 0
    for width in widths:
        yield slice(first, first + width)
        first += width


def _bytes(matrix: torch.Tensor) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Show a CPU matrix whose rows are contiguous as bytes, without a copy."""
    return matrix.view(torch.uint8).numpy()


def _flat(matrix: torch.Tensor) -> torch.Tensor:
    """Show a (..., width) tensor as (rows, width)."""
    return matrix.view(-1, matrix.shape[-1])


def _outside_graph(method: _Method) -> _Method:
    """Keep torch.compile out of a method: it breaks the graph, or fails where it must not.

    vLLM compiles no model with LoRA on the CPU. Should it come to do so, a traced step
    would freeze its groups into the graph, and later steps would silently get the wrong
    adapter.
    """
    disable: Any = torch.compiler.disable  # has no types
    wrapped: _Method = disable(method)
    return wrapped


def __getattr__(name: str) -> Any:
    """Build the wrapper class when vLLM asks for it by name, not on import."""
    if name == _CLASS:
        return _wrapper_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _wrapper_class() -> type[Any]:
    """Return vLLM's CPU wrapper with its linear operations replaced by those above.

    Embedding and logits adapters keep vLLM's own operations. So would layers whose A is split over
    several workers (`fully_sharded_loras`), which `scoring.cluster` refuses on CPUs.
    """
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    class GroupedPunicaWrapperCPU(PunicaWrapperCPU):
        """Groups the rows once a step in `update_metadata`; linear layers then use the groups."""

        _groups: tuple[Group, ...] = ()
        _tokens: int = 0

        def update_metadata(self, *args: Any, **kwargs: Any) -> None:
            super().update_metadata(*args, **kwargs)
            self._groups = group_tokens(self.token_lora_indices)
            self._tokens = len(self.token_lora_indices)

        def _groups_of(self, x: torch.Tensor) -> tuple[Group, ...]:
            """Return the step's groups; rows of `x` past the step's tokens are padding."""
            if self._groups and len(x) < self._tokens:
                raise EngineError(
                    f"a layer with LoRA got {len(x)} rows of a step of {self._tokens} tokens: "
                    "the adapters' rows are not known; this model cannot run adapters on the CPU"
                )
            return self._groups

        @_outside_graph
        def add_lora_linear(
            self,
            y: torch.Tensor,
            x: torch.Tensor,
            lora_a_stacked: tuple[torch.Tensor, ...],
            lora_b_stacked: tuple[torch.Tensor, ...],
            scale: float,
            output_slices: tuple[int, ...],
            *,
            buffer: tuple[torch.Tensor, ...] | None = None,
            **kwargs: Any,
        ) -> None:
            """See `add_linear`; `buffer`, a work space, is not needed and not used."""
            y, x = _flat(y), _flat(x)
            groups = self._groups_of(x)
            add_linear(y, x, lora_a_stacked, lora_b_stacked, output_slices, groups, scale)

    return GroupedPunicaWrapperCPU
