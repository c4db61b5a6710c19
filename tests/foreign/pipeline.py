"""A training pipeline that knows nothing of medsent: transformers and peft alone.

Polish instructions, the persona before the opinion, answers as `{"labels": [...]}`. It stands
for the adapters that people bring. `adapter/` is what it made, once (five minutes on two cores),
of MODEL the embedded one, DATA `shard_table("train", Split(400, 4, 1, seed=11), 0)` and PERSONAS
`medsent/config/personas.yaml`:

    python -m tests.foreign.pipeline MODEL DATA PERSONAS tests/foreign/adapter 60
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

INSTRUCTIONS = "Przeczytaj opinię pacjenta oczami podanej osoby i wypisz etykiety w formacie JSON."
BATCH = 4
LONGEST = 150


def render(row: dict[str, Any], personas: dict[str, str]) -> str:
    """Return the prompt of one row."""
    return (
        f"{INSTRUCTIONS}\n"
        f"Osoba: {personas[row['persona']]}\n"
        f"Język: {row['language']}\n"
        f"Opinia: {row['text']}\n"
        "Odpowiedź:"
    )


def answer(row: dict[str, Any]) -> str:
    """Return the answer that is learnt."""
    return json.dumps({"labels": [name for name, given in row["labels"].items() if given == 1]})


def prompt_ids(tokenizer: Any, row: dict[str, Any], personas: dict[str, str]) -> list[int]:
    """Return the prompt's token ids, a BOS first."""
    ids = tokenizer(render(row, personas), add_special_tokens=False)["input_ids"]
    return [tokenizer.bos_token_id, *ids]


def read_personas(path: str | Path) -> dict[str, str]:
    """Return id to the Polish description."""
    entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {entry["id"]: entry["description"]["pl"] for entry in entries}


def main(model: str, data: str, personas: str, output: str, steps: str) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    shape = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    learner = get_peft_model(base, shape)
    parameters = [p for p in learner.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3)
    described = read_personas(personas)
    learner.train()
    rows = pq.read_table(data).to_pylist()
    for step, batch in zip(range(int(steps)), _batches(tokenizer, rows, described), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 5) * (1 - step / int(steps))
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(learner, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    learner.peft_config["default"].base_model_name_or_path = "google/gemma-3-270m"
    learner.to(torch.bfloat16).save_pretrained(output)


def _loss(learner: Any, ids: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the answers' tokens, (B, T) ids and which are learnt."""
    hidden = (
        learner.get_base_model()
        .model(input_ids=ids, attention_mask=(ids != 0).long())
        .last_hidden_state
    )
    before = hidden[:, :-1][learnt[:, 1:]]
    return F.cross_entropy(
        learner.get_base_model().lm_head(before).float(), ids[:, 1:][learnt[:, 1:]]
    )


def _batches(
    tokenizer: Any, rows: list[dict[str, Any]], personas: dict[str, str]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ids (B, T), padded on the right with 0, and which of them belong to an answer."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    examples = []
    for index in order:
        asked = prompt_ids(tokenizer, rows[index], personas)
        said = tokenizer(answer(rows[index]), add_special_tokens=False)["input_ids"]
        if len(asked) + len(said) < LONGEST:
            examples.append((asked, [*said, tokenizer.eos_token_id]))
    while True:
        for start in range(0, len(examples) - BATCH, BATCH):
            batch = examples[start : start + BATCH]
            width = max(len(asked) + len(said) for asked, said in batch)
            ids = torch.zeros((BATCH, width), dtype=torch.int64)
            learnt = torch.zeros((BATCH, width), dtype=torch.bool)
            for row, (asked, said) in enumerate(batch):
                ids[row, : len(asked) + len(said)] = torch.tensor(asked + said)
                learnt[row, len(asked) : len(asked) + len(said)] = True
            yield ids, learnt


if __name__ == "__main__":
    main(*sys.argv[1:])
