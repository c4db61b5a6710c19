"""What is learnt for each answer method: how a batch is made, and its loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from medsent.answers.method import Write
from medsent.answers.targets import STRUCTURE, UNKNOWN
from medsent.commands.training.packing import attention_mask, pack
from medsent.commands.training.readings import Opinion
from medsent.commands.training.task import Task
from medsent.prompts.prompter import Prompter
from medsent.prompts.sharing import shared_prefix

Batch = dict[str, Tensor]

_NOT_ASKED = -100
POSITIONS_AT_ONCE = 512  # rows of vocabulary logits held at a time


class Objective(ABC):
    """Turns opinions into batches, and a model's hidden states into a loss."""

    def __init__(self, prompter: Prompter, weights: Sequence[float]) -> None:
        """`weights` (L,) are those of the labels' losses."""
        self.prompter = prompter
        self.weights = torch.tensor(weights)

    @abstractmethod
    def collate(self, opinions: list[Opinion]) -> Batch:
        """Make one batch."""

    @abstractmethod
    def weight(self, batch: Batch) -> Tensor:
        """Return what a batch weighs: the sum of its labels' or tokens' weights."""

    @abstractmethod
    def loss(
        self, model: Any, batch: Batch, over: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the loss, and the label logits (B, R, L) where the method has any.

        The loss is a weighted sum divided by `over`: the weight of the whole step where the batch
        is a part of one; the batch's own weight where it is not given.
        """

    def _pack(self, opinions: list[Opinion], answers: list[list[list[int]]]) -> Batch:
        """Pack each opinion's prompts, one a reader, each followed by its answer's ids."""
        heads, tails = [], []
        for opinion, own in zip(opinions, answers, strict=True):
            head, rest = self._split(opinion)
            heads.append(head)
            tails.append([tail + answer for tail, answer in zip(rest, own, strict=True)])
        return {**pack(heads, tails), "labels": _stack_gold(opinions)}

    def _split(self, opinion: Opinion) -> tuple[list[int], list[list[int]]]:
        """Return what all readers' prompts begin with, and the rest of each: a token at least."""
        prompts = self.prompter.prompts(
            [(opinion.text, opinion.language, persona) for persona in opinion.personas]
        )
        end = min(shared_prefix(prompts), min(map(len, prompts)) - 1)
        return prompts[0][:end], [prompt[end:] for prompt in prompts]


class OnePass(Objective):
    """Binary cross-entropy on the L logits at the end of the prompt; no full vocabulary."""

    def __init__(
        self, prompter: Prompter, weights: Sequence[float], token_ids: Sequence[int]
    ) -> None:
        """`token_ids` (L + 1,) are the labels' and the reference's."""
        super().__init__(prompter, weights)
        self._token_ids = torch.tensor(token_ids)

    def collate(self, opinions: list[Opinion]) -> Batch:
        """Make one batch of prompts."""
        return self._pack(opinions, [[[] for _ in o.personas] for o in opinions])

    def weight(self, batch: Batch) -> Tensor:
        """Return the sum of the known labels' weights."""
        return self._weights(batch).sum()

    def loss(
        self, model: Any, batch: Batch, over: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the weighted mean over known labels, and the logits (B, R, L)."""
        hidden = hidden_states(model, batch)
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        tokens = vocabulary_logits(
            hidden[rows, batch["ends"]], *head(model, self._token_ids.to(hidden.device))
        )
        logits = tokens[..., :-1] - tokens[..., -1:]
        gold = batch["labels"].nan_to_num()
        each = F.binary_cross_entropy_with_logits(logits, gold, reduction="none")
        return _weighted_mean(each, self._weights(batch), over), logits

    def _weights(self, batch: Batch) -> Tensor:
        gold = batch["labels"]
        return self.weights.to(gold.device) * ~torch.isnan(gold)


class Answer(Objective):
    """Cross-entropy on the tokens of the answer (`json`, `bits`), each weighted by its label.

    Structure weighs 1 a token; a value whose gold is missing weighs nothing.
    """

    def __init__(self, prompter: Prompter, weights: Sequence[float], write: Write) -> None:
        """`write` makes an answer of a row of gold, (L,)."""
        super().__init__(prompter, weights)
        self._write = write

    def collate(self, opinions: list[Opinion]) -> Batch:
        """Make one batch of prompts with their answers.

        `targets` (B, T) holds the answers' ids where they stand, else -100, and
        `of_label` (B, T) the label each decides.
        """
        written = [[self._write(gold) for gold in o.gold] for o in opinions]
        batch = self._pack(opinions, [[answer.ids for answer in own] for own in written])
        targets = torch.full_like(batch["input_ids"], _NOT_ASKED)
        of_label = torch.full_like(batch["input_ids"], STRUCTURE)
        for row, own in enumerate(written):
            for reader, answer in enumerate(own):
                end = int(batch["ends"][row, reader]) + 1
                targets[row, end - len(answer.ids) : end] = torch.tensor(answer.ids)
                of_label[row, end - len(answer.ids) : end] = torch.tensor(answer.of_label)
        return {**batch, "targets": targets, "of_label": of_label}

    def weight(self, batch: Batch) -> Tensor:
        """Return the sum of the answers' tokens' weights."""
        return self._weights(batch).sum()

    def loss(
        self, model: Any, batch: Batch, over: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the weighted mean over the answers' tokens; there are no label logits."""
        hidden = hidden_states(model, batch)
        # A token is predicted by the position before it in the packed row, which is the
        # position before it in its own tail, since a tail begins with a token of the prompt.
        targets = batch["targets"][:, 1:]
        asked = targets != _NOT_ASKED
        each = _token_losses(hidden[:, :-1][asked], targets[asked], *head(model))
        return _weighted_mean(each, self._weights(batch), over), None

    def _weights(self, batch: Batch) -> Tensor:
        of = batch["of_label"][batch["targets"] != _NOT_ASKED]
        own = torch.where(of >= 0, self.weights.to(of.device)[of.clamp(min=0)], 1.0)
        return own * (of != UNKNOWN)


def objective_for(task: Task, tokenizer: Any) -> Objective:
    """Return what is learnt for a task.

    Raises `ModelError` where the tokenizer or its chat template does not allow the task.
    """
    bound, training = task.method.bind(tokenizer, task.labels, task.answer), task.method.training
    prompter = Prompter(tokenizer, task.prompt, task.personas, task.labels)
    if training == "logits":
        return OnePass(prompter, task.weights, bound.ask.token_ids)
    assert training is not None  # as `open_task` refuses
    return Answer(prompter, task.weights, training(tokenizer, task.labels, task.answer))


def hidden_states(model: Any, batch: Batch) -> Tensor:
    """Return the decoder's last hidden states, (B, T, H), under the packed mask."""
    base = _base(model)
    inputs = decoder_inputs(base.config.get_text_config(), batch)
    hidden: Tensor = base.get_decoder()(**inputs).last_hidden_state
    return hidden


def decoder_inputs(config: Any, batch: Batch) -> dict[str, Any]:
    """Return the arguments of a decoder with the text model's `config` for a packed batch."""
    full = attention_mask(batch["sees"], batch["position_ids"], None)
    mask: Any = full
    if "sliding_attention" in (getattr(config, "layer_types", None) or []):
        sliding = attention_mask(batch["sees"], batch["position_ids"], config.sliding_window)
        mask = {"full_attention": full, "sliding_attention": sliding}
    return {
        "input_ids": batch["input_ids"],
        "position_ids": batch["position_ids"],
        "attention_mask": mask,
        "use_cache": False,
    }


def head(model: Any, token_ids: Tensor | None = None) -> tuple[Tensor, float | None]:
    """Return the output embedding, (V, H) or the rows asked for, and the cap on logits, if any."""
    weight: Tensor = model.get_output_embeddings().weight
    config = _base(model).config.get_text_config()
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    return (weight if token_ids is None else weight[token_ids]), cap


def vocabulary_logits(hidden: Tensor, weight: Tensor, cap: float | None) -> Tensor:
    """Return float32 logits (..., V) for hidden states (..., H).

    In full precision whatever the autocast: a bfloat16 logit near 20 is off by up to 0.06.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _capped(hidden.float() @ weight.float().T, cap)


def _token_losses(hidden: Tensor, targets: Tensor, weight: Tensor, cap: float | None) -> Tensor:
    """Return the cross-entropy of each of N positions, a slice at a time.

    The logits of a slice are computed again in the backward pass, so that never more than one
    slice times the vocabulary is in memory.
    """

    def slice_losses(states: Tensor, wanted: Tensor) -> Tensor:
        logits = _capped((states.to(weight.dtype) @ weight.T).float(), cap)
        return F.cross_entropy(logits, wanted, reduction="none")

    parts = zip(hidden.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True)
    losses = [checkpoint(slice_losses, *part, use_reentrant=False) for part in parts]
    return torch.cat(losses)


def _capped(logits: Tensor, cap: float | None) -> Tensor:
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _weighted_mean(each: Tensor, weight: Tensor, over: Tensor | None) -> Tensor:
    total = weight.sum() if over is None else over
    return (each * weight).sum() / total.clamp(min=1e-9)


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _stack_gold(opinions: list[Opinion]) -> Tensor:
    most = max(len(o.personas) for o in opinions)
    gold = np.full((len(opinions), most, opinions[0].gold.shape[1]), np.nan, dtype=np.float32)
    for row, opinion in enumerate(opinions):
        gold[row, : len(opinion.personas)] = opinion.gold
    return torch.from_numpy(gold)
