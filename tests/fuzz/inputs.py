"""The drawn job's files: shards, what lies beside them, an adapter, the settings."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors.numpy import save_file

from tests.fuzz.columns import columns
from tests.fuzz.drawn import Drawn, Shard

_MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
_SHAPE = (64, 32)


@dataclass(frozen=True)
class Written:
    """A job on disk."""

    config: Path
    output: Path
    rows: int | None
    """Of the shards that are not passed over, where each is sound; else None."""


def write_job(drawn: Drawn, folder: Path, model: Path) -> Written:
    """Write a job and all that it names under `folder`."""
    source = folder / "shards"
    source.mkdir(parents=True)
    for number, shard in enumerate(drawn.shards):
        _write_shard(shard, number, source)
    _write_beside(drawn.beside, source)
    values = _settings(drawn, source, folder, model)
    config = folder / "job.yaml"
    config.write_text(_spoiled(drawn.setting, values, folder), encoding="utf-8")
    read = [shard for shard in drawn.shards if not _passed_over(shard.name)]
    sound = all(shard.damage == "none" for shard in read)
    rows = sum(shard.rows for shard in read) if sound else None
    return Written(config, folder / "runs", rows)


def _passed_over(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file.startswith("_") or file.endswith(".tmp")


def _write_shard(shard: Shard, number: int, source: Path) -> None:
    file = source / shard.name.format(f"s{number}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if shard.damage in _INSTEAD:
        file.write_bytes(_INSTEAD[shard.damage])
        return
    named = columns(shard, number)
    if shard.damage == "no_text":
        named = [(name, array) for name, array in named if name != "text"]
    elif shard.damage == "other_columns":
        named = [(f"their_{name}", array) for name, array in named]
    elif shard.damage == "column_twice":
        named = [*named, named[0], ("extra", named[0][1]), ("extra", named[0][1])]
    table = pa.Table.from_arrays([array for _, array in named], [name for name, _ in named])
    if shard.damage == "no_rows":
        table = table.slice(0, 0)
    size = max(1, -(-shard.rows // shard.groups))
    int96 = shard.date == "int96_far"
    pq.write_table(table, file, row_group_size=size, use_deprecated_int96_timestamps=int96)
    if shard.damage == "cut_off":
        file.write_bytes(file.read_bytes()[:-20])
    elif shard.damage == "corrupt_page":
        whole = bytearray(file.read_bytes())
        whole[4:40] = bytes(len(whole[4:40]))
        file.write_bytes(whole)


_INSTEAD = {"empty_file": b"", "csv": b"record_id,text\n1,fine\n"}


def _write_beside(kind: str, source: Path) -> None:
    if kind in ("delta", "iceberg"):
        log = source / {"delta": "_delta_log", "iceberg": "metadata"}[kind]
        log.mkdir()
        name = {"delta": f"{0:020}.json", "iceberg": "v1.metadata.json"}[kind]
        (log / name).write_text('{"format-version": 2}')
    elif kind == "success":
        (source / "_SUCCESS").touch()
    elif kind == "crc":
        (source / ".s0.parquet.crc").write_bytes(b"crc")
    elif kind == "csv":
        (source / "readme.csv").write_text("a,b\n")
    elif kind == "empty_folder":
        (source / "empty").mkdir()


def _settings(drawn: Drawn, source: Path, folder: Path, model: Path) -> dict[str, Any]:
    there = {name for i, shard in enumerate(drawn.shards) for name, _ in columns(shard, i)}
    given = {
        "path": str(source),
        "on_bad_shard": drawn.on_bad_shard,
        "fan_out": drawn.fan_out,
        "grows": drawn.grows,
    }
    if "persona" not in there and drawn.fan_out == "rows":
        given["columns"] = {"persona": None}
    if drawn.keep and "clinic" in there:
        given["keep"] = ["clinic"]
    variant: dict[str, Any] = {"method": drawn.method}
    if drawn.adapter != "none":
        variant["adapter"] = str(folder / "adapter")
        _write_adapter(drawn.adapter, folder / "adapter")
    return {
        "name": "drawn",
        "input": given,
        "output": {"path": str(folder / "runs")},
        "model": {"source": str(model), "max_model_len": 4096},
        "variants": {"asked": variant},
        "engine": {"kind": "scripted", "rows_per_block": 4},
        "statistics": {"replicates": 100},
    }


def _write_adapter(kind: str, folder: Path) -> None:
    """Write an adapter that fits, but for one thing."""
    if kind == "absent_folder":
        return
    folder.mkdir()
    tensors, settings = _tensors(kind), _adapter_settings(kind)
    if kind != "no_config":
        text = json.dumps(settings)
        (folder / "adapter_config.json").write_text(text[:-3] if kind == "broken_config" else text)
    weights = folder / "adapter_model.safetensors"
    if kind == "git_lfs":
        oid = "0" * 64
        weights.write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 9\n"
        )
    elif kind == "bin_only":
        (folder / "adapter_model.bin").write_bytes(b"PK\x03\x04")
    elif kind == "gguf":
        (folder / "adapter.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    elif kind == "mlx":
        save_file(
            {"model.layers.0.self_attn.q_proj.lora_a": tensors.popitem()[1]},
            folder / "adapters.safetensors",
        )
    elif kind == "empty_file":
        weights.write_bytes(b"")
    else:
        save_file(tensors, weights)


def _tensors(kind: str) -> dict[str, Any]:
    rank = 24 if kind == "rank_24" else 2
    rng = np.random.default_rng(0)
    down = rng.normal(size=(rank, _SHAPE[1])).astype(np.float32)
    up = rng.normal(size=(_SHAPE[0], rank)).astype(np.float32)
    spoil: dict[str, Callable[[], None]] = {
        "nan": lambda: down.__setitem__((0, 0), np.nan),
        "infinite": lambda: up.__setitem__((0, 0), np.inf),
        "zero": lambda: up.fill(0),
    }
    spoil.get(kind, lambda: None)()
    if kind == "shape_0":
        down, up = np.zeros((0,), np.float32), np.zeros((0,), np.float32)
    module = {
        "lm_head": "base_model.model.lm_head",
        "vision": "base_model.model.vision_tower.encoder.layers.0.self_attn.q_proj",
        "other_module": "base_model.model.model.layers.99.mlp.gate_up",
    }.get(kind, _MODULE)
    tensors = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    if kind == "dora":
        tensors[f"{module}.lora_magnitude_vector"] = np.ones(_SHAPE[0], np.float32)
    elif kind == "bias":
        tensors["base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias"] = up[:, 0]
    elif kind == "saved_modules":
        tensors["base_model.model.lm_head.modules_to_save.weight"] = up
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _adapter_settings(kind: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "r": 24 if kind == "rank_24" else 2,
        "lora_alpha": 2,
        "target_modules": ["q_proj"],
    }
    settings |= {
        "pissa": {"init_lora_weights": "pissa"},
        "olora": {"init_lora_weights": "olora"},
        "dora": {"use_dora": True},
        "ia3": {"peft_type": "IA3"},
        "lm_head": {"target_modules": ["lm_head"]},
        "bias": {"bias": "all"},
        "rank_pattern": {"rank_pattern": {"q_proj": 4}},
        "saved_modules": {"modules_to_save": ["lm_head"]},
        "other_base": {"base_model_name_or_path": "someone/llama-of-another-shape"},
        "mlx": {"lora_parameters": {"rank": 2, "scale": 20.0}},
    }.get(kind, {})
    if kind == "no_rank":
        del settings["r"]
    return settings


def _spoiled(kind: str, values: dict[str, Any], folder: Path) -> str:
    """Return the settings as text, with one thing that people get wrong."""
    _spoil_values(kind, values, folder)
    text = yaml.safe_dump(values, sort_keys=False)
    more = {
        "key_twice": "statistics:\n  replicates: 0\n",
        "unknown_key": "enginee:\n  kind: scripted\n",
        "tab": "compare:\n\t- {}\n",
        "not_yaml": "] this: is {not yaml\n",
        "null_group": "compare:\n",
        "yes_no_key": "yes: no\n",
        "anchor": "note: &n fine\n",
    }
    return text + more.get(kind, "")


def _spoil_values(kind: str, values: dict[str, Any], folder: Path) -> None:
    changes: dict[str, Iterator[tuple[str, str, Any]]] = {
        "wrong_type": iter([("engine", "rows_per_block", "many")]),
        "secret_path": iter([("input", "path", "s3://key:secret@bucket/shards")]),
        "no_input": iter([("input", "path", str(folder / "nowhere"))]),
        "few_replicates": iter([("statistics", "replicates", 7)]),
        "slice_unknown": iter([("statistics", "slices", ["ward"])]),
        "long_max_len": iter([("model", "max_model_len", 10_000_000)]),
        "short_max_len": iter([("model", "max_model_len", 64)]),
    }
    for group, name, value in changes.get(kind, iter(())):
        values[group][name] = value
    if kind == "output_is_file":
        (folder / "runs").write_text("a file")
    elif kind == "empty_folder":
        (folder / "empty").mkdir()
        values["input"]["path"] = str(folder / "empty")
    elif kind in ("persona_file_broken", "label_file_other"):
        name = "personas" if kind == "persona_file_broken" else "labels"
        (folder / "own.yaml").write_text("- id: [1\n" if name == "personas" else "- name: joy\n")
        values[name] = str(folder / "own.yaml")
    elif kind == "odd_name":
        values["name"] = "a/b"
