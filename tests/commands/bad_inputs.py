"""Jobs with one thing wrong in each, and what the last line of each must say."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medsent.config.labels import LABELS
from medsent.metrics.statistics.thresholds import hashed_opinions
from tests.conftest import AdapterWriter

Change = Callable[["Bench"], dict[str, Any]]


@dataclass(frozen=True)
class Bench:
    """A good job in a folder, for a test to spoil."""

    folder: Path
    model: Path
    write_adapter: AdapterWriter

    @property
    def shard(self) -> Path:
        return self.folder / "in" / "a.parquet"

    def table(self) -> pa.Table:
        return pq.read_table(self.shard)

    def write(self, table: pa.Table, name: str = "a.parquet") -> None:
        pq.write_table(table, self.folder / "in" / name)

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def adapter(self, **broken: Any) -> dict[str, Any]:
        folder = self.write_adapter(self.folder / "adapter", **broken)
        return {"variants": {"plain": {}, "tuned": {"adapter": str(folder)}}}


def missing_column(bench: Bench) -> dict[str, Any]:
    bench.write(bench.table().drop(["persona"]))
    return {}


def wrong_type(bench: Bench) -> dict[str, Any]:
    numbers = pa.array(range(bench.table().num_rows))
    bench.write(bench.table().drop(["text"]).append_column("text", numbers))
    return {}


def no_shards(bench: Bench) -> dict[str, Any]:
    bench.shard.unlink()
    return {}


def no_rows(bench: Bench) -> dict[str, Any]:
    bench.write(bench.table().slice(0, 0))
    return {}


def zero_bytes(bench: Bench) -> dict[str, Any]:
    (bench.shard.parent / "b.parquet").touch()
    return {}


def truncated(bench: Bench) -> dict[str, Any]:
    whole = bench.shard.read_bytes()
    (bench.shard.parent / "b.parquet").write_bytes(whole[: len(whole) // 2])
    return {}


def dangling(bench: Bench) -> dict[str, Any]:
    (bench.shard.parent / "b.parquet").symlink_to("gone.parquet")
    return {"input": {"on_bad_shard": "quarantine"}}


def another_schema(bench: Bench) -> dict[str, Any]:
    bench.write(bench.table().rename_columns({"text": "comment"}), "b.parquet")
    return {}


def another_type(bench: Bench) -> dict[str, Any]:
    """No type holds every number of 64 bits and every fraction."""
    table = bench.table()
    for name, kind in (("a.parquet", pa.int64()), ("b.parquet", pa.float64())):
        visits = pa.array(range(table.num_rows)).cast(kind)
        bench.write(table.append_column("visit", visits), name)
    return {"input": {"keep": ["visit"]}}


def a_table_of_delta(bench: Bench) -> dict[str, Any]:
    (bench.shard.parent / "_delta_log").mkdir()
    return {}


def lfs_pointer(bench: Bench) -> dict[str, Any]:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2771529\n"
    (bench.shard.parent / "b.parquet").write_text(pointer)
    return {}


def encrypted(bench: Bench) -> dict[str, Any]:
    (bench.shard.parent / "b.parquet").write_bytes(b"PARE" + bytes(99) + b"PARE")
    return {}


def labels_of_another_set(bench: Bench) -> dict[str, Any]:
    table = bench.table().drop(["labels"])
    bench.write(table.append_column("labels", pa.array([{"joy": 1}] * table.num_rows)))
    return {}


def zeros(bench: Bench) -> dict[str, Any]:
    return bench.adapter(zero=True)


def matches_nothing(bench: Bench) -> dict[str, Any]:
    return bench.adapter(module="base_model.model.model.layers.0.attention.wq")


def another_shape(bench: Bench) -> dict[str, Any]:
    # The small model tells no shapes.
    return bench.adapter(shape=(4096, 3840)) | {"model": {"source": "builtin:gemma-3-270m"}}


def too_high_a_rank(bench: Bench) -> dict[str, Any]:
    return {**bench.adapter(rank=32), "engine": {"kind": "vllm", "latency_s": None}}


def of_nan(bench: Bench) -> dict[str, Any]:
    return bench.adapter(lora_alpha=float("nan"))


def pickled_model(bench: Bench) -> dict[str, Any]:
    model = bench.folder / "model"
    model.mkdir()
    for file in bench.model.glob("*.json"):
        (model / file.name).symlink_to(file)
    (model / "pytorch_model.bin").write_bytes(b"PK")
    return {"model": {"source": str(model)}, "engine": {"kind": "vllm", "latency_s": None}}


def not_a_model(bench: Bench) -> dict[str, Any]:
    (bench.folder / "model").mkdir()
    return {"model": {"source": str(bench.folder / "model")}}


def untried_wrapper(bench: Bench) -> dict[str, Any]:
    kinds = {"model_type": "paligemma", "text_config": {"model_type": "gemma"}}
    config = bench.file("config.json", json.dumps(kinds))
    source = str(Path(config).parent)
    return {"model": {"source": source}, "engine": {"kind": "vllm"}}


def thresholds(text: str) -> Change:
    def change(bench: Bench) -> dict[str, Any]:
        file = bench.file("thresholds.json", text)
        return {"variants": {"plain": {"thresholds": file}}}

    return change


def tuned_on_the_input(bench: Bench) -> dict[str, Any]:
    """Thresholds of which 2 opinions are among the input's, and 3 are not."""
    ids = [*bench.table()["opinion_id"].unique().to_pylist()[:2], "x", "y", "z"]
    tuned_on = {"data_digest": "0", "opinions": 5, "records": 9}
    values = {
        **LACKING,
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "tuned_on": {**tuned_on, "opinion_hashes": hashed_opinions(ids)},
    }
    return thresholds(json.dumps(values))(bench)


def personas(text: str) -> Change:
    return lambda bench: {"personas": bench.file("readers.yaml", text)}


def labels(*names: str) -> Change:
    text = "".join(f"- name: {name}\n" for name in names)
    return lambda bench: {
        "labels": bench.file("labels.yaml", text),
        "input": {"columns": {"labels": None}},
    }


def gold_of_others(bench: Bench) -> dict[str, Any]:
    return {"labels": bench.file("labels.yaml", "- name: happiness\n- name: bliss\n")}


def answer(text: str) -> Change:
    def change(bench: Bench) -> dict[str, Any]:
        return {"variants": {"plain": {"method": "json", "answer": bench.file("a.yaml", text)}}}

    return change


def settings(**groups: Any) -> Change:
    return lambda bench: groups


LACKING = {
    "method": "onepass",
    "adapter_sha256": None,
    "thresholds": dict.fromkeys(LABELS[:-1], 0.5),
    "tuned_on": {"data_digest": "0", "opinions": 1, "records": 1, "opinion_hashes": ""},
}

CASES: dict[str, tuple[Change, list[str]]] = {
    "missing column": (
        missing_column,
        ["{in}/a.parquet: no column 'persona'", "set input.columns.persona to your name"],
    ),
    "mapped column missing": (
        settings(input={"columns": {"text": "opinion"}}),
        ["{in}/a.parquet: no column 'opinion'", "set input.columns.text"],
    ),
    "kept column missing": (
        settings(input={"keep": ["clinic"]}),
        ["{in}/a.parquet: no column 'clinic', which input.keep names"],
    ),
    "no column of ours": (
        settings(input={"columns": {"txt": "text"}}),
        ["input.columns: 'txt' is not a column of ours"],
    ),
    "wrong type": (
        wrong_type,
        ["{in}/a.parquet: column 'text' (input.columns.text) is int64; it must be a string"],
    ),
    "labels of another set": (
        labels_of_another_set,
        ["{in}/a.parquet: column 'labels'", "it must be a struct of the 21 labels"],
    ),
    "no shards": (no_shards, ["input.path: no shards (*.parquet, *.parq, *.pq) in {in}"]),
    "no rows": (no_rows, ["input.path: the shards in {in} hold no rows"]),
    "no folder": (
        settings(input={"path": "/nowhere/at/all"}),
        ["input.path: there is nothing at /nowhere/at/all"],
    ),
    "zero bytes": (
        zero_bytes,
        ["{in}/b.parquet is empty (0 bytes)", "set input.on_bad_shard: quarantine to go on"],
    ),
    "lfs pointer": (
        lfs_pointer,
        ["{in}/b.parquet is not the file itself but a git-lfs pointer to it (git lfs pull"],
    ),
    "encrypted": (encrypted, ["{in}/b.parquet is encrypted, and its key is not known here"]),
    "table of Delta Lake": (a_table_of_delta, ["input.path: {in} is a Delta table"]),
    "truncated": (truncated, ["{in}/b.parquet is not a whole Parquet file"]),
    "several that are bad": (
        lambda bench: {**zero_bytes(bench), **wrong_type(bench)},
        [
            "{in}/a.parquet: column 'text' (input.columns.text) is int64",
            "also bad: {in}/b.parquet (empty_file)",
        ],
    ),
    "link to nothing": (dangling, ["{in}/b.parquet is a link to gone.parquet, where there is"]),
    "another schema": (another_schema, ["{in}/b.parquet: no column 'text'", "it has record_id"]),
    "another type": (
        another_type,
        [
            "{in}/b.parquet: column 'visit', which input.keep names, is double, but int64 in ",
            "others such as {in}/a.parquet, and no type holds both; cast it to one type in all",
        ],
    ),
    "misspelt key": (
        settings(engine={"rows_per_blok": 4}),
        ["{job}: unknown setting engine.rows_per_blok; did you mean rows_per_block?"],
    ),
    "misspelt group": (
        settings(varients={"plain": {}}),
        ["{job}: unknown setting varients; did you mean variants?"],
    ),
    "misspelt key of a variant": (
        settings(variants={"plain": {"metod": "json"}}),
        ["unknown setting variants.plain.metod; did you mean method?"],
    ),
    "wrong value type": (
        settings(engine={"rows_per_block": "many"}),
        ["{job}: engine.rows_per_block: Input should be a valid integer"],
    ),
    "wrong method": (
        settings(variants={"plain": {"method": "guess"}}),
        ["variants.plain.method: Input should be 'bits', 'json' or 'onepass'"],
    ),
    "setting without a value": (
        settings(model={"source": None}),
        ["{job}: model.source: Input should be a valid string"],
    ),
    "compare names no variant": (
        settings(compare=[{"baseline": "plain", "candidate": "tuned"}]),
        ["compare names 'tuned', which is no variant (plain)"],
    ),
    "slice by an unknown column": (
        settings(statistics={"slices": ["clinic"]}),
        ["statistics.slices names 'clinic'"],
    ),
    "adapter missing": (
        settings(variants={"tuned": {"adapter": "/nowhere/adapter"}}),
        ["variants.tuned.adapter: /nowhere/adapter: there is no such folder"],
    ),
    "adapter of zeros": (zeros, ["variants.tuned.adapter: {folder}/adapter changes nothing"]),
    "adapter that matches nothing": (
        matches_nothing,
        ["variants.tuned.adapter: {folder}/adapter targets layers.0.attention.wq, which the model"],
    ),
    "adapter of another shape": (
        another_shape,
        ["variants.tuned.adapter: {folder}/adapter", "is 4096x3840, the model's is 1024x640"],
    ),
    "adapter of too high a rank": (
        too_high_a_rank,
        ["variants.tuned.adapter has rank 32, above engine.max_lora_rank 16"],
    ),
    "adapter without a scale": (of_nan, ["lora_alpha in adapter_config.json is nan, no number"]),
    "model in pickles": (
        pickled_model,
        ["{folder}/model holds no weights as safetensors, only pytorch_model.bin"],
    ),
    "model missing": (
        settings(model={"source": "/nowhere/model"}),
        ["model.source: there is no folder '/nowhere/model'"],
    ),
    "model of no files": (not_a_model, ["model.source: {folder}/model has no config.json"]),
    "multimodal model that was not tried": (
        untried_wrapper,
        ["the text model is served, and that of paligemma (gemma) was not tried"],
    ),
    "unknown builtin": (
        settings(model={"source": "builtin:gemma-3-27b"}),
        ["model.source: there is no 'builtin:gemma-3-27b'"],
    ),
    "thresholds missing": (
        settings(variants={"plain": {"thresholds": "/nowhere/thresholds.json"}}),
        ["thresholds: cannot read /nowhere/thresholds.json"],
    ),
    "thresholds lacking one": (
        thresholds(json.dumps(LACKING)),
        [
            "variants.plain.thresholds: {folder}/thresholds.json is of other labels than the job: ",
            "there is none for funny",
        ],
    ),
    "thresholds that are no JSON": (thresholds("{"), ["thresholds: {folder}/thresholds.json"]),
    "thresholds tuned on the input": (
        tuned_on_the_input,
        [
            "{folder}/thresholds.json was tuned on opinions of this input: 2 of its 5 have gold",
            "Evaluate other data, or tune on other opinions with `medsent thresholds`",
        ],
    ),
    "personas missing": (
        settings(personas="/nowhere/readers.yaml"),
        ["cannot read the persona file /nowhere/readers.yaml"],
    ),
    "personas broken": (
        personas("- {id: a, name: {en: A}}"),
        ["the persona file {folder}/readers.yaml, 0, description: Field required"],
    ),
    "personas no YAML": (personas("- ["), ["{folder}/readers.yaml is not YAML: line"]),
    "labels missing": (
        settings(labels="/nowhere/labels.yaml"),
        ["cannot read the label file /nowhere/labels.yaml"],
    ),
    "labels that begin alike": (
        labels("anger at nurses", "anger at doctors", "calm"),
        [
            "variants.plain: method onepass cannot be used",
            "anger at nurses and anger at doctors. Give all but one of them another `word` in the",
        ],
    ),
    "gold of other labels": (
        gold_of_others,
        ["column 'labels'", "a struct of the 2 labels", "set input.columns.labels to null"],
    ),
    "prompt missing": (
        settings(variants={"plain": {"prompt": "/nowhere/prompt.yaml"}}),
        ["cannot read the prompt file /nowhere/prompt.yaml"],
    ),
    "answer of other labels": (
        answer("names: {fright: strach}"),
        ["variants.plain", "the answer file's names: 'fright' is no label of this job"],
    ),
    "answer with a wrong key": (
        answer("form: list\nyes: tak"),
        ["{folder}/a.yaml: yes goes with form: object"],
    ),
    "answer for another method": (
        settings(variants={"plain": {"method": "bits", "answer": "a.yaml"}}),
        ["{job}: variants.plain: answer goes with method json, not with bits"],
    ),
    "output that is no storage": (
        settings(output={"path": "hdfs://host/runs"}),
        ["{job}: output.path: hdfs:// is no storage; give a folder, s3:// or gs://"],
    ),
}
