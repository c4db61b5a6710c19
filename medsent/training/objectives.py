"""What is learnt for each answer method: how a batch is made, and its loss."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medsent.labels import LABELS
from medsent.prompts import Prompter
from medsent.training.packing import attention_mask, pack
from medsent.training.readings import Opinion

Batch = dict[str, Tensor]


class Objective(ABC):
    """Turns opinions into batches, and a model's hidden states into a loss."""

    def __init__(self, prompter: Prompter, label_weights: dict[str, float]) -> None:
        self.prompter = prompter
        self.weights = torch.tensor([label_weights.get(label, 1.0) for label in LABELS])

    @abstractmethod
    def collate(self, opinions: list[Opinion]) -> Batch:
        """Make one batch."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the loss, and the label logits (B, R, 21) where the method has any."""

    def _pack(self, opinions: list[Opinion], answers: list[list[list[int]]]) -> Batch:
        tail = self.prompter.tail
        packed = pack(
            [self.prompter.head(opinion.text) for opinion in opinions],
            [
                [tail(o.language, persona) + answer for persona, answer in zip(o.personas, own)]
                for o, own in zip(opinions, answers, strict=True)
            ],
        )
        return {
            "input_ids": packed.input_ids,
            "position_ids": packed.position_ids,
            "sees": packed.sees,
            "ends": packed.ends,
            "labels": _stack_gold(opinions),
        }


class OnePass(Objective):
    """Binary cross-entropy on the 21 logits at the end of the prompt; no full vocabulary."""

    def __init__(
        self, prompter: Prompter, label_weights: dict[str, float], token_ids: list[int]
    ) -> None:
        super().__init__(prompter, label_weights)
        self._token_ids = torch.tensor(token_ids)

    def collate(self, opinions: list[Opinion]) -> Batch:
        return self._pack(opinions, [[[] for _ in o.personas] for o in opinions])

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor | None]:
        hidden = hidden_states(model, batch)
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        last = hidden[rows, batch["ends"]].float()
        tokens = last @ head_weight(model)[self._token_ids.to(hidden.device)].float().T
        logits = tokens[..., :-1] - tokens[..., -1:]
        gold = batch["labels"]
        known = ~torch.isnan(gold)
        each = F.binary_cross_entropy_with_logits(logits, gold.nan_to_num(), reduction="none")
        weight = self.weights.to(logits.device) * known
        return (each * weight).sum() / weight.sum().clamp(min=1e-9), logits


class Answer(Objective):
    """Cross-entropy on the tokens of the answer (`json`, `bits`), each weighted by its label."""

    def __init__(self, prompter: Prompter, label_weights: dict[str, float], writer: Any) -> None:
        super().__init__(prompter, label_weights)
        self._write = writer

    def collate(self, opinions: list[Opinion]) -> Batch:
        written = [[self._write(gold) for gold in o.gold] for o in opinions]
        batch = self._pack(opinions, [[ids for ids, _ in own] for own in written])
        targets = torch.full_like(batch["input_ids"], -100)
        labels = torch.full_like(batch["input_ids"], -1)
        for row, own in enumerate(written):
            for reader, (ids, of_label) in enumerate(own):
                end = int(batch["ends"][row, reader])
                span = slice(end - len(ids) + 1, end + 1)
                targets[row, span] = torch.tensor(ids)
                labels[row, span] = torch.tensor(of_label)
        return {**batch, "targets": targets, "of_label": labels}

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor | None]:
        hidden = hidden_states(model, batch)
        # A token is predicted by the position before it in the packed row, which is the
        # position before it in its own tail, since an answer never starts a tail.
        targets, of_label = batch["targets"][:, 1:], batch["of_label"][:, 1:]
        asked = targets != -100
        logits = hidden[:, :-1][asked] @ head_weight(model).to(hidden.dtype).T
        each = F.cross_entropy(logits.float(), targets[asked], reduction="none")
        of = of_label[asked]
        weight = torch.where(of >= 0, self.weights.to(of.device)[of.clamp(min=0)], 1.0)
        return (each * weight).sum() / weight.sum().clamp(min=1e-9), None


def hidden_states(model: Any, batch: Batch) -> Tensor:
    """Return the decoder's last hidden states, (B, T, H), under the packed mask."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config.get_text_config()
    full = attention_mask(batch["sees"], batch["position_ids"], None)
    mask: Any = full
    if "sliding_attention" in (getattr(config, "layer_types", None) or []):
        sliding = attention_mask(batch["sees"], batch["position_ids"], config.sliding_window)
        mask = {"full_attention": full, "sliding_attention": sliding}
    output = base.get_decoder()(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=mask,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state
    return hidden


def head_weight(model: Any) -> Tensor:
    """Return the output embedding, (V, H)."""
    weight: Tensor = model.get_output_embeddings().weight
    return weight


def _stack_gold(opinions: list[Opinion]) -> Tensor:
    most = max(len(o.personas) for o in opinions)
    gold = np.full((len(opinions), most, len(LABELS)), np.nan, dtype=np.float32)
    for row, opinion in enumerate(opinions):
        gold[row, : len(opinion.personas)] = opinion.gold
    return torch.from_numpy(gold)
