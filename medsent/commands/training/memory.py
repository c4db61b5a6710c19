"""How much memory a training takes at its peak, told before anything is loaded.

    weights      the text model's parameters in the type they are loaded in; under nf4 the linear
                 layers' take 4 bits each, 8 for every 64 of them and 32 for every 16,384
    adapter      16 bytes a parameter: float32, its gradient, and AdamW's two averages
    activations  what all layers keep for the backward pass (with checkpointing, their inputs and
                 all that one layer keeps), and 0.3 of one layer's for the gradients
    answers      the logits over the vocabulary for 512 positions, and what is computed from them
                 (20 bytes a logit)
    unpacking    under nf4 the largest layer, unpacked to the type that is computed in
    libraries    1 GB for torch and the device's own use

The estimate is for a GPU; a CPU without 16-bit products computes in float32, which takes more.
What the layers keep is not calculated but counted: the training's own forward pass over the widest
batch is run with tensors that have shapes and no memory, and autograd names what it saves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM

from medsent.answers.method import method_named
from medsent.commands.training.base import attach_adapter, drop_senses
from medsent.commands.training.config import TrainingConfig
from medsent.commands.training.objectives import POSITIONS_AT_ONCE, Batch, decoder_inputs
from medsent.errors import ModelError

_PACKED = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a parameter of nf4 with its scales quantised too
_ADAPTER = 4 + 4 + 8
_A_LOGIT = 20
_GRADIENTS = 0.3
_LIBRARIES = 1.0e9


@dataclass(frozen=True)
class Memory:
    """The parts of a training's peak, in bytes."""

    weights: float
    adapter: float
    activations: float
    answers: float
    unpacking: float
    libraries: float = _LIBRARIES

    @property
    def total(self) -> float:
        """The sum."""
        return float(sum(vars(self).values()))


def estimate(config: TrainingConfig, base: Path, batch: Batch) -> Memory:
    """Return the memory that passes as wide as `batch` take on a GPU, in the configured type.

    `base` is the model's folder, of which only the configuration is read. Errors are those of
    loading it.
    """
    dtype: torch.dtype = getattr(torch, config.model.dtype)
    model = _unfilled(config, base, dtype)
    linear = [each for each in _linear(model) if config.model.quantization]
    packed = sum(layer.weight.numel() for layer in linear)
    largest = max((layer.weight.numel() for layer in linear), default=0)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    in_full = method_named(config.method).training != "logits"
    vocabulary = len(model.get_output_embeddings().weight) if in_full else 0
    return Memory(
        weights=(frozen - packed) * dtype.itemsize + packed * _PACKED,
        adapter=trained * _ADAPTER,
        activations=_activations(config, model, batch),
        answers=POSITIONS_AT_ONCE * vocabulary * _A_LOGIT,
        unpacking=largest * dtype.itemsize,
    )


def _unfilled(config: TrainingConfig, base: Path, dtype: torch.dtype) -> Any:
    """Return the model that is trained, its parameters without memory."""
    try:
        shape = AutoConfig.from_pretrained(str(base))
        with torch.device("meta"):
            frozen: Any = AutoModelForCausalLM.from_config(shape, dtype=dtype)
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"model.source: cannot load {base}: {error}") from error
    drop_senses(frozen)
    return attach_adapter(frozen, config)


def _linear(model: Any) -> Iterator[nn.Linear]:
    """Yield what is quantised: the frozen linear layers, without the vocabulary's."""
    last = model.get_output_embeddings()
    for module in model.modules():
        linear = isinstance(module, nn.Linear) and module is not last
        if linear and not module.weight.requires_grad:
            yield module


def _activations(config: TrainingConfig, model: Any, batch: Batch) -> float:
    decoder = model.get_base_model().get_decoder().train()
    kept = _kept(decoder, batch)
    one_layer = kept / int(decoder.config.num_hidden_layers)
    if not config.optimiser.gradient_checkpointing:
        return kept + _GRADIENTS * one_layer
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return _kept(decoder, batch) + (1 + _GRADIENTS) * one_layer


def _kept(decoder: Any, batch: Batch) -> float:
    """Return the bytes that a forward pass keeps for the backward pass, parameters apart."""
    with FakeTensorMode() as mode:
        parameters = {name: _empty(each) for name, each in decoder.named_parameters()}
        state = {**parameters, **{name: _empty(each) for name, each in decoder.named_buffers()}}
        inputs = decoder_inputs(
            decoder.config, {name: mode.from_tensor(part) for name, part in batch.items()}
        )
        mixed = torch.autocast("cpu", torch.bfloat16)
        with _counted() as kept, mixed:
            torch.func.functional_call(decoder, state, kwargs=inputs)
    own = {each.untyped_storage()._cdata for each in parameters.values()}
    return float(sum(size for key, (size, _) in kept.items() if key not in own))


def _empty(tensor: Tensor) -> Tensor:
    trained = tensor.requires_grad
    dtype = torch.float32 if trained else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, requires_grad=trained)


@contextmanager
def _counted() -> Iterator[dict[int, tuple[int, Tensor]]]:
    """Collect the storages that autograd saves: each one's size, and a tensor to keep it alive."""
    kept: dict[int, tuple[int, Tensor]] = {}

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        yield kept
