"""LoRA on the CPU: each row gets its own adapter's product, and no other row changes."""

import inspect
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsent.engine import lora_cpu
from medsent.errors import EngineError

pytestmark = pytest.mark.slow

INPUTS, RANK, WIDTHS = 64, 8, (48, 16, 16)
ADAPTERS = 2
# One slot more than adapters, empty: the stock operations take "no adapter" for the last.
SLOTS = ADAPTERS + 1

STEPS = {
    "none": [-1] * 9,
    "all one": [1] * 9,
    "one, then none": [0] * 5 + [-1] * 4,
    "none around one": [-1] * 3 + [1] * 4 + [-1] * 2,
    "two runs": [0] * 4 + [1] * 5,
    "unsorted": [1, -1, 0, 0, -1, 1, 0, -1, 1],
    "single row": [1],
    "no rows": [],
}


def stacks(dtype: torch.dtype, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return random stacks of A and B for a packed layer; the last slot is empty."""
    generator = torch.Generator().manual_seed(seed)
    shapes_a = [(SLOTS, 1, RANK, INPUTS) for _ in WIDTHS]
    shapes_b = [(SLOTS, 1, width, RANK) for width in WIDTHS]
    made = []
    for shape in shapes_a + shapes_b:
        stack = torch.randn(shape, generator=generator).to(dtype)
        stack[ADAPTERS:] = 0
        made.append(stack)
    return made[: len(WIDTHS)], made[len(WIDTHS) :]


def batch(tokens: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random y (with a negative zero in each row) and x."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randn((tokens, sum(WIDTHS)), generator=generator).to(dtype)
    y[:, 3] = -0.0
    return y, torch.randn((tokens, INPUTS), generator=generator).to(dtype)


def reference(
    y: torch.Tensor,
    x: torch.Tensor,
    stacks_a: list[torch.Tensor],
    stacks_b: list[torch.Tensor],
    slots: list[int],
    scale: float,
) -> torch.Tensor:
    """Compute one token after the other in float32."""
    expected = y.float().clone()
    for row, slot in enumerate(slots):
        start = 0
        for stack_a, stack_b, width in zip(stacks_a, stacks_b, WIDTHS, strict=True):
            if slot >= 0:
                shrunk = stack_a[slot, 0].float() @ x[row].float()
                added = stack_b[slot, 0].float() @ shrunk
                expected[row, start : start + width] += scale * added
            start += width
    return expected


def check(
    actual: torch.Tensor, expected: torch.Tensor, before: torch.Tensor, slots: list[int]
) -> None:
    """Rows with an adapter are near the reference, the others have the same bits."""
    # The shrunk row is rounded to the model's type: 8 bits of a sum of RANK terms.
    tolerance = 0.02 if actual.dtype == torch.bfloat16 else 1e-5
    error = (actual.float() - expected).abs().max().item() if slots else 0.0
    assert error <= tolerance * max(1.0, expected.abs().max().item() if slots else 1.0)
    untouched = torch.tensor(slots, dtype=torch.long) < 0
    assert torch.equal(bits(actual[untouched]), bits(before[untouched]))


def bits(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.contiguous().view(torch.uint8)


def test_neighbours_are_a_slice_and_scattered_rows_are_numbers() -> None:
    groups = lora_cpu.group_tokens(torch.tensor([-1, 2, 2, 0, -1, 0]))
    assert [group.slot for group in groups] == [0, 2]
    assert isinstance(groups[0].rows, torch.Tensor)
    assert groups[0].rows.tolist() == [3, 5]
    assert groups[1].rows == slice(1, 3)


@given(slots=st.lists(st.integers(-1, 5), max_size=40))
def test_groups_hold_each_row_with_an_adapter_once(slots: list[int]) -> None:
    found = [-1] * len(slots)
    for group in lora_cpu.group_tokens(torch.tensor(slots, dtype=torch.long)):
        for row in torch.arange(len(slots))[group.rows].tolist():
            assert found[row] == -1
            found[row] = group.slot
    assert found == slots


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("slots", STEPS.values(), ids=STEPS.keys())
def test_linear_equals_the_sum_per_token(slots: list[int], dtype: torch.dtype) -> None:
    stacks_a, stacks_b = stacks(dtype)
    before, x = batch(len(slots), dtype)
    y = before.clone()
    groups = lora_cpu.group_tokens(torch.tensor(slots, dtype=torch.long))
    lora_cpu.add_linear(y, x, stacks_a, stacks_b, WIDTHS, groups, 0.5)
    check(y, reference(before, x, stacks_a, stacks_b, slots, 0.5), before, slots)


@settings(max_examples=30, deadline=None)
@given(slots=st.lists(st.integers(-1, ADAPTERS - 1), min_size=1, max_size=60), seed=st.integers(0))
def test_any_mixture_equals_the_sum_per_token(slots: list[int], seed: int) -> None:
    stacks_a, stacks_b = stacks(torch.bfloat16, seed % 1000)
    before, x = batch(len(slots), torch.bfloat16)
    y = before.clone()
    groups = lora_cpu.group_tokens(torch.tensor(slots))
    lora_cpu.add_linear(y, x, stacks_a, stacks_b, WIDTHS, groups)
    check(y, reference(before, x, stacks_a, stacks_b, slots, 1.0), before, slots)


def test_layers_without_weights_do_not_change_a_bit() -> None:
    stacks_a, stacks_b = stacks(torch.bfloat16)
    before, x = batch(6, torch.bfloat16)
    # Were the product taken, 0 times infinity would make every column a NaN.
    x[:, 0] = torch.inf
    y = before.clone()
    groups = lora_cpu.group_tokens(torch.tensor([ADAPTERS, -1] * 3))
    lora_cpu.add_linear(y, x, stacks_a, stacks_b, WIDTHS, groups)
    assert torch.equal(bits(y), bits(before))


def test_a_row_gets_the_same_alone_and_in_a_mixture() -> None:
    stacks_a, stacks_b = stacks(torch.bfloat16)
    before, x = batch(9, torch.bfloat16)
    mixed, alone = before.clone(), before.clone()
    slots = torch.tensor(STEPS["unsorted"])
    groups = lora_cpu.group_tokens(slots)
    lora_cpu.add_linear(mixed, x, stacks_a, stacks_b, WIDTHS, groups)
    for row in range(9):
        one = lora_cpu.group_tokens(slots[row : row + 1])
        lora_cpu.add_linear(alone[row : row + 1], x[row : row + 1], stacks_a, stacks_b, WIDTHS, one)
    torch.testing.assert_close(mixed, alone, rtol=2**-7, atol=0.0)


class TestInsideVllm:
    """Against vLLM's own wrapper and platform."""

    @pytest.fixture(autouse=True)
    def _needs_vllm(self) -> None:
        pytest.importorskip("vllm")

    def wrapper(self, cls: type[Any], slots: list[int]) -> Any:
        """Return a wrapper of the class that was told a step's slots."""
        made = cls(256, max_batches=64, device=torch.device("cpu"))
        self.tell(made, slots)
        return made

    def tell(self, wrapper: Any, slots: list[int]) -> None:
        from vllm.lora.layers import LoRAMapping

        numbers = [11, 7]
        ids = tuple(0 if slot < 0 else numbers[slot] for slot in slots)
        mapping = LoRAMapping(ids, ids[:1], is_prefill=True)
        wrapper.update_metadata(mapping, [*numbers, None], SLOTS + 1, 1000)

    @pytest.mark.parametrize("slots", [s for s in STEPS.values() if s])
    def test_equals_the_stock_wrapper(self, slots: list[int]) -> None:
        from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

        stacks_a, stacks_b = stacks(torch.bfloat16)
        before, x = batch(len(slots), torch.bfloat16)
        results = []
        for cls in (PunicaWrapperCPU, lora_cpu.GroupedPunicaWrapperCPU):
            y = before.clone()
            self.wrapper(cls, slots).add_lora_linear(
                y, x, tuple(stacks_a), tuple(stacks_b), 1.0, WIDTHS
            )
            results.append(y)
        stock, ours = results
        torch.testing.assert_close(ours.float(), stock.float(), rtol=2**-6, atol=0.05)
        untouched = torch.tensor(slots) < 0
        assert torch.equal(bits(ours[untouched]), bits(before[untouched]))

    def test_no_adapter_is_not_the_last_slot(self) -> None:
        """Where the stock wrapper is wrong: all slots full, rows without an adapter."""
        stacks_a, stacks_b = stacks(torch.bfloat16)
        full_a = tuple(stack[:ADAPTERS] for stack in stacks_a)
        full_b = tuple(stack[:ADAPTERS] for stack in stacks_b)
        slots = STEPS["unsorted"]
        before, x = batch(len(slots), torch.bfloat16)
        y = before.clone()
        wrapper = self.wrapper(lora_cpu.GroupedPunicaWrapperCPU, slots)
        wrapper.add_lora_linear(y, x, full_a, full_b, 1.0, WIDTHS)
        check(y, reference(before, x, stacks_a, stacks_b, slots, 1.0), before, slots)

    def test_padding_is_left_alone_and_missing_rows_are_an_error(self) -> None:
        stacks_a, stacks_b = stacks(torch.bfloat16)
        wrapper = self.wrapper(lora_cpu.GroupedPunicaWrapperCPU, [0, 1, 1])
        before, x = batch(5, torch.bfloat16)
        y = before.clone()
        weights = (tuple(stacks_a), tuple(stacks_b), 1.0, WIDTHS)
        wrapper.add_lora_linear(y, x, *weights)
        assert torch.equal(bits(y[3:]), bits(before[3:]))
        with pytest.raises(EngineError, match="2 rows of a step of 3 tokens"):
            wrapper.add_lora_linear(y[:2], x[:2], *weights)

    def test_a_compiled_caller_follows_each_step(self) -> None:
        stacks_a, stacks_b = stacks(torch.bfloat16)
        wrapper = self.wrapper(lora_cpu.GroupedPunicaWrapperCPU, STEPS["none"])

        def layer(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            y = y * 2
            wrapper.add_lora_linear(y, x, tuple(stacks_a), tuple(stacks_b), 1.0, WIDTHS)
            return y

        compiled: Any = torch.compile(layer, backend="eager")
        before, x = batch(9, torch.bfloat16)
        for slots in (STEPS["none"], STEPS["all one"], STEPS["unsorted"], STEPS["two runs"]):
            self.tell(wrapper, slots)
            assert torch.equal(compiled(before, x), layer(before, x))
        torch._dynamo.reset()
        whole: Any = torch.compile(layer, backend="eager", fullgraph=True)
        with pytest.raises(torch._dynamo.exc.Unsupported):
            whole(before, x)

    def test_register_is_idempotent_and_vllm_finds_the_class(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from vllm.lora.punica_wrapper import get_punica_wrapper
        from vllm.platforms import current_platform

        if not current_platform.is_cpu():
            pytest.skip("not a CPU build of vLLM")
        stock = inspect.getattr_static(type(current_platform), "get_punica_wrapper")
        monkeypatch.setattr(type(current_platform), "get_punica_wrapper", stock)
        lora_cpu.register()
        chosen = type(current_platform).__dict__["get_punica_wrapper"]
        lora_cpu.register()
        assert type(current_platform).__dict__["get_punica_wrapper"] is chosen
        wrapper = get_punica_wrapper(16, max_batches=4, device=torch.device("cpu"))
        assert type(wrapper) is lora_cpu.GroupedPunicaWrapperCPU

    def test_register_leaves_a_gpu_platform_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import vllm.platforms

        platform = SimpleNamespace(is_cpu=lambda: False)
        monkeypatch.setattr(vllm.platforms, "current_platform", platform, raising=False)
        lora_cpu.register()
        assert vars(platform).keys() == {"is_cpu"}


def test_import_does_not_import_vllm() -> None:
    code = "import sys, medsent.engine.lora_cpu; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_names_are_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = lora_cpu.Nothing
