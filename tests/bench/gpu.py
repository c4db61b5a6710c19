"""`make bench-gpu`: Gemma 3 12B's shapes on one GPU, against the limit of its matrix products.

Random weights: speed does not depend on their values, and guided JSON has the same length
whatever they are. Prints answers/s of bare vLLM in steady state, bf16 and FP8, `onepass` and
`json`, and how much of the limit `onepass` reaches; the goal is half. Unmeasured so far: no GPU
was at hand.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from medsent.config import MethodName, ModelSettings, VllmSettings
from medsent.engine.vllm import EnginePlan, has_gpu
from medsent.model import load_tokenizer, prepare_builtin
from tests.bench.bare import BareVllm
from tests.bench.limit import MatrixRate, limit, read_shape
from tests.bench.timing import Edges, median
from tests.bench.worker import Worker
from tests.bench.workload import MAX_MODEL_LEN, Asker, write_shard

GOAL: Final = 0.5
SHAPE: Final = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_size": 3840,
    "intermediate_size": 15360,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 1024,
    "vocab_size": 262144,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
_RECORDS: Final[dict[MethodName, int]] = {"onepass": 16_384, "json": 2_048}
_EDGES: Final = {"onepass": Edges(4_096, 1_024), "json": Edges(512, 256)}
_ROUNDS: Final = 3


def write_model(folder: Path) -> Path:
    """Write a model's folder of that shape without weights, the tokenizer the embedded one's."""
    folder.mkdir(parents=True)
    for file in prepare_builtin().glob("tokenizer*"):
        shutil.copy(file, folder)
    base = json.loads((prepare_builtin() / "config.json").read_text(encoding="utf-8"))
    base.pop("layer_types", None)  # follows from the number of layers
    (folder / "config.json").write_text(json.dumps({**base, **SHAPE}), encoding="utf-8")
    return folder


def main() -> int:
    """Measure both number formats, one engine after the other, and print the table."""
    if not has_gpu():
        print(
            "make bench-gpu needs an NVIDIA GPU and the lock requirements/gpu.txt", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        model = write_model(Path(folder) / "model")
        with Worker(MatrixRate) as measured:
            operations = measured.ask("measure", read_shape(model), "cuda")
        print(f"bf16 products of these shapes: {operations / 1e12:.0f} TFLOP/s\n")
        print("| weights | method | answers/s | tokens computed | of the bf16 limit |")
        print("|---|---|--:|--:|--:|", flush=True)
        for quantization in (None, "fp8"):
            _measure(Path(folder), model, quantization, operations)
    print(f"\nGoal: onepass reaches {GOAL:.0%} of the limit")
    return 0


def _measure(folder: Path, model: Path, quantization: str | None, operations: float) -> None:
    settings = ModelSettings(
        source=str(model), max_model_len=MAX_MODEL_LEN, quantization=quantization
    )
    engine = VllmSettings(device="gpu", options={"load_format": "dummy"})
    asker = Asker(load_tokenizer(model))
    with Worker(BareVllm, EnginePlan(str(model), engine, settings)) as bare:
        for name, records in _RECORDS.items():
            rows = write_shard(folder / name / "part.parquet", records)
            requests = asker.requests(rows, name)
            rounds = [bare.ask("answer", requests) for _ in range(_ROUNDS)]
            rate = median([found.steady_rate(_EDGES[name]) for found in rounds])
            computed = rounds[0].computed_tokens / records
            of_limit = rate / limit(read_shape(model), operations, computed)
            share = f"{of_limit:.0%}" if name == "onepass" else ""
            print(
                f"| {quantization or 'bf16'} | {name} | {rate:,.1f} | {computed:.0f} | {share} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
