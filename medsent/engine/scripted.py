"""A scripted engine for tests of orchestration: no model, answers from a hash of the prompt."""

import asyncio
import hashlib
import json
import math
import struct
import time
from datetime import UTC, datetime

from medsent.config import ScriptedSettings
from medsent.engine.protocol import Completion, Request
from medsent.labels import LABELS


class ScriptedEngine:
    """Gives every request the same answer each time, whatever the order or the company."""

    def __init__(self, settings: ScriptedSettings) -> None:
        self._latency_s = settings.latency_s
        self._slots = asyncio.Semaphore(settings.max_num_seqs)

    async def complete(self, request: Request) -> Completion:
        started = time.monotonic()
        async with self._slots:
            await asyncio.sleep(self._latency_s)
        text, logprobs = _script(request)
        return Completion(
            text=text,
            logprobs=logprobs,
            truncated=False,
            prompt_tokens=len(request.prompt),
            cached_tokens=0,
            output_tokens=max(1, len(logprobs)),
            latency_s=time.monotonic() - started,
            finished_at=datetime.now(UTC),
        )

    def close(self) -> None:
        """Nothing to free."""


def _chances(request: Request, count: int) -> list[float]:
    """Return numbers in (0, 1) made from the prompt and the adapter's name."""
    key = struct.pack(f"{len(request.prompt)}I", *request.prompt)
    salt = (request.adapter or "").encode()
    digest = hashlib.shake_256(key + salt).digest(2 * count)
    return [(value + 0.5) / 65536 for value in struct.unpack(f"{count}H", digest)]


def _script(request: Request) -> tuple[str, list[dict[int, float]]]:
    ask = request.ask
    if ask.json_schema is not None:
        chances = _chances(request, len(LABELS))
        answer = {label: chance > 0.5 for label, chance in zip(LABELS, chances, strict=True)}
        return json.dumps(answer), []
    if ask.regex is not None:
        zero, one = ask.token_ids
        chances = _chances(request, len(LABELS))
        steps = [{zero: math.log(1 - chance), one: math.log(chance)} for chance in chances]
        return "".join("1" if chance > 0.5 else "0" for chance in chances), steps
    chances = _chances(request, len(ask.token_ids))
    return "", [{token: math.log(c) for token, c in zip(ask.token_ids, chances, strict=True)}]
