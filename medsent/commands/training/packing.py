"""Several readers of one opinion in one forward pass.

A row of a batch holds once what all readers' prompts begin with, the head, and then each
reader's tail. The mask lets a tail see the head and itself, never another tail, and positions
restart after the head: the result equals that of separate prompts. Where the opinion stands
before the reader it is in the head, which spares most of the tokens; else it is in each tail.
"""

import torch
from torch import Tensor


def pack(heads: list[list[int]], tails: list[list[list[int]]], pad: int = 0) -> dict[str, Tensor]:
    """Pack each of B opinions' head ids with its R readers' tail ids, over T tokens (padded).

    `input_ids` and `position_ids` are (B, T), the latter restarting after the head for each tail;
    `sees` (B, T, T) tells whether position i may attend to position j; `ends` (B, R) where each
    tail ends, 0 for padding.
    """
    rows = [_row(head, own) for head, own in zip(heads, tails, strict=True)]
    batch, width = len(rows), max(len(ids) for ids, _, _, _ in rows)
    readers = max(len(own) for own in tails)
    input_ids = torch.full((batch, width), pad)
    position_ids = torch.zeros((batch, width), dtype=torch.int64)
    # Padding gets an owner of its own, so it sees only itself and no softmax is empty.
    owner = torch.full((batch, width), -1)
    ends = torch.zeros((batch, readers), dtype=torch.int64)
    for index, (ids, positions, owners, last) in enumerate(rows):
        input_ids[index, : len(ids)] = torch.tensor(ids)
        position_ids[index, : len(ids)] = torch.tensor(positions)
        owner[index, : len(ids)] = torch.tensor(owners)
        ends[index, : len(last)] = torch.tensor(last)
    same = owner[:, :, None] == owner[:, None, :]
    shared = (owner[:, None, :] == 0) & (owner[:, :, None] >= 0)
    causal = torch.ones((width, width), dtype=torch.bool).tril()
    sees = (same | shared) & causal
    return {"input_ids": input_ids, "position_ids": position_ids, "sees": sees, "ends": ends}


def attention_mask(packed_sees: Tensor, positions: Tensor, window: int | None) -> Tensor:
    """Return the (B, 1, T, T) bool mask, limited to a sliding window of positions if given."""
    sees = packed_sees
    if window is not None:
        sees = sees & (positions[:, :, None] - positions[:, None, :] < window)
    return sees[:, None]


def _row(
    head: list[int], tails: list[list[int]]
) -> tuple[list[int], list[int], list[int], list[int]]:
    ids, positions, owners = list(head), list(range(len(head))), [0] * len(head)
    ends = []
    for number, tail in enumerate(tails, start=1):
        ids += tail
        positions += range(len(head), len(head) + len(tail))
        owners += [number] * len(tail)
        ends.append(len(ids) - 1)
    return ids, positions, owners, ends
