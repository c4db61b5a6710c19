"""Packed readers get what each would get in a prompt of its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from medsent.commands.training.objectives import hidden_states
from medsent.commands.training.packing import attention_mask, pack

_WINDOW = 8  # of the tiny model


@pytest.fixture(scope="module")
def model(tiny_gemma: Callable[[int], Any]) -> Any:
    return tiny_gemma(128)


def _ids(seed: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [int(i) for i in torch.randint(3, 128, (length,), generator=generator)]


# One text within the window, one three times as long, and tails of unlike lengths.
HEADS = [_ids(1, 5), _ids(2, 3 * _WINDOW)]
TAILS = [[_ids(3, 3), _ids(4, 6), _ids(5, 1)], [_ids(6, 2 * _WINDOW), _ids(7, 4)]]


def test_packed_equals_separate_prompts(model: Any) -> None:
    packed = pack(HEADS, TAILS)
    with torch.no_grad():
        together = hidden_states(model, packed)
        for row, (head, tails) in enumerate(zip(HEADS, TAILS, strict=True)):
            for reader, tail in enumerate(tails):
                alone = model.model(torch.tensor([head + tail])).last_hidden_state[0]
                end = int(packed["ends"][row, reader])
                own = together[row, end - len(tail) + 1 : end + 1]
                torch.testing.assert_close(own, alone[len(head) :], atol=1e-4, rtol=0)


def test_the_window_matters_to_the_long_text(model: Any) -> None:
    """Without the sliding mask the long text's result would differ: the test above can fail."""
    packed = pack(HEADS[1:], TAILS[1:])
    full = attention_mask(packed["sees"], packed["position_ids"], None)
    with torch.no_grad():
        wrong = model.model(
            input_ids=packed["input_ids"],
            position_ids=packed["position_ids"],
            attention_mask={"full_attention": full, "sliding_attention": full},
        ).last_hidden_state[0]
        right = model.model(torch.tensor([HEADS[1] + TAILS[1][0]])).last_hidden_state[0]
    end = int(packed["ends"][0, 0])
    assert (wrong[end] - right[-1]).abs().max() > 1e-2


def test_a_tail_never_sees_another() -> None:
    packed = pack([[1, 2]], [[[3, 4], [5]]])
    assert packed["position_ids"].tolist() == [[0, 1, 2, 3, 2]]
    assert packed["ends"].tolist() == [[3, 4]]
    assert packed["sees"][0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_padding_sees_itself_only() -> None:
    """A row of the mask without a True would make the softmax, and then all, NaN."""
    packed = pack([[1, 2, 3], [1]], [[[4, 5]], [[6]]])
    assert packed["sees"].any(dim=-1).all()
    assert not packed["sees"][1, :2, 2:].any()
    assert not packed["sees"][1, 2:, :2].any()
