"""What is drawn: a job of shards, gold, an adapter and settings, each of a kind that people have.

Every part is a word, so that a job that went wrong is one line of JSON to try again.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from hypothesis import strategies as st

TEXTS = [
    "string", "large_string", "string_view", "dictionary8", "dictionary32", "binary",
    "large_binary", "all_null", "int64",
]  # fmt: skip
CONTENTS = [
    "plain", "plain", "plain", "empty", "white_space", "zero_width", "null", "special_tokens",
    "bad_utf8", "long", "controls", "lone_surrogate",
]  # fmt: skip
IDS = [
    "string", "int8", "int64", "uint64", "large_string", "decimal", "decimal_places", "uuid",
    "whole_float", "broken_float", "bool", "some_null", "dictionary", "binary", "twice",
]  # fmt: skip
LANGUAGES = [
    "pl", "PL", "pl-PL", "pl_PL", "pol", "Polish", "en", "EN-us", "English", "de", "xx", "", " ",
    None, "a/b", "..", "język", "long",
]  # fmt: skip
PERSONAS = ["known", "dictionary", "all_null", "unknown", "some_null", "absent", "int64"]
DATES = [
    "absent", "date32", "date64", "s", "ms", "us", "ns", "us_utc", "us_warsaw", "int96_far",
    "iso", "german", "all_null", "int64", "far",
]  # fmt: skip
GOLD = [
    "absent", "names", "large_names", "unknown_name", "other_case", "struct_bool", "struct_int",
    "struct_some", "struct_other", "columns", "columns_20", "columns_bool", "shares",
    "whole_shares", "grades", "class_ids", "words", "json_text", "all_null", "all_empty",
    "half_votes",
]  # fmt: skip
KEPT = [
    "absent", "int32", "int64", "float64", "string", "all_null", "bool", "list", "struct", "map",
    "decimal", "time", "duration", "dictionary", "string_view", "list_of_views", "big_int",
    "timestamp", "binary",
]  # fmt: skip
NAMES = [
    "{}.parquet", "{} b.parquet", "{}?.parquet", "{}#%41.parquet", "{};=.parquet", "{}.PARQUET",
    "{}", "{}.pq", "_{}.parquet", "ż{}.parquet", "year=2026/{}.parquet", "_year=2026/{}.parquet",
    "language=pl/{}.parquet", "deep/er/{}.parquet", "{}\n.parquet", "{}'\".parquet",
    "{}.snappy.parquet", "{}.parquet.tmp", "[{}].parquet", "{}*.parquet", "%2F{}.parquet",
    "clinic=__HIVE_DEFAULT_PARTITION__/{}.parquet",
]  # fmt: skip
DAMAGES = [
    *["none"] * 12, "empty_file", "cut_off", "csv", "corrupt_page", "column_twice", "no_text",
    "other_columns", "no_rows",
]  # fmt: skip
BESIDE = [*["none"] * 6, "delta", "iceberg", "success", "crc", "csv", "empty_folder"]
ADAPTERS = [
    *["none"] * 6, *["fits"] * 3, "git_lfs", "bin_only", "no_config", "broken_config", "nan",
    "infinite", "shape_0", "pissa", "olora", "dora", "rank_24", "ia3", "no_rank", "lm_head",
    "vision", "bias", "gguf", "mlx", "other_module", "rank_pattern", "zero", "saved_modules",
    "empty_file", "other_base", "absent_folder",
]  # fmt: skip
SETTINGS = [
    *["none"] * 12, "key_twice", "unknown_key", "wrong_type", "tab", "not_yaml", "secret_path",
    "output_is_file", "no_input", "empty_folder", "few_replicates", "slice_unknown", "null_group",
    "long_max_len", "short_max_len", "persona_file_broken", "label_file_other", "odd_name",
    "yes_no_key", "anchor",
]  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """One file of the input."""

    name: str = "{}.parquet"
    rows: int = 4
    groups: int = 1
    text: str = "string"
    contents: tuple[str, ...] = ("plain",)
    ids: str = "string"
    languages: tuple[str | None, ...] = ("pl", "en")
    language_type: str = "string"
    persona: str = "known"
    date: str = "absent"
    gold: str = "names"
    kept: str = "int32"
    damage: str = "none"


@dataclass(frozen=True)
class Drawn:
    """One job."""

    shards: tuple[Shard, ...] = (Shard(),)
    beside: str = "none"
    adapter: str = "none"
    setting: str = "none"
    method: str = "onepass"
    keep: bool = False
    on_bad_shard: str = "fail"
    fan_out: str = "rows"
    grows: bool = False

    def to_json(self) -> str:
        """Return one line, of what is not plain."""
        told = _odd(self, Drawn())
        told["shards"] = [_odd(shard, Shard()) for shard in self.shards]
        return json.dumps(told)

    @classmethod
    def of_json(cls, line: str) -> "Drawn":
        """Read such a line; what it leaves out is plain."""
        values = json.loads(line)
        shards = tuple(_shard(each) for each in values.pop("shards", [{}]))
        return cls(shards=shards, **values)


def _odd(thing: "Drawn | Shard", plain: "Drawn | Shard") -> dict[str, Any]:
    usual = asdict(plain)
    return {name: value for name, value in asdict(thing).items() if value != usual[name]}


def _shard(values: dict[str, Any]) -> Shard:
    return Shard(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@st.composite
def jobs(draw: st.DrawFn) -> Drawn:
    """Draw a job that is odd in a few places, as people's are: most of it is plain."""
    first = _oddly(draw, Shard())
    others = [_oddly(draw, first) for _ in range(draw(st.integers(0, 2)))]
    drawn = Drawn(
        shards=(first, *others),
        method=draw(st.sampled_from(["onepass", "bits", "json"])),
        keep=draw(st.booleans()),
        on_bad_shard=draw(st.sampled_from(["fail", "quarantine"])),
        fan_out=draw(st.sampled_from(["rows", "rows", "rows", "personas"])),
        grows=draw(st.booleans()),
    )
    odd = draw(st.sampled_from(["beside", "adapter", "setting", "none", "none"]))
    values = {"beside": BESIDE, "adapter": ADAPTERS, "setting": SETTINGS}
    return drawn if odd == "none" else replace(drawn, **{odd: draw(st.sampled_from(values[odd]))})


_PARTS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(NAMES),
    "rows": st.integers(1, 12),
    "groups": st.integers(1, 3),
    "text": st.sampled_from(TEXTS),
    "contents": st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=4).map(tuple),
    "ids": st.sampled_from(IDS),
    "languages": st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=4).map(tuple),
    "language_type": st.sampled_from(["string", "dictionary32", "large_string", "all_null"]),
    "persona": st.sampled_from(PERSONAS),
    "date": st.sampled_from(DATES),
    "gold": st.sampled_from(GOLD),
    "kept": st.sampled_from(KEPT),
    "damage": st.sampled_from(DAMAGES),
}


def _oddly(draw: st.DrawFn, shard: Shard) -> Shard:
    number = draw(st.sampled_from([0, 1, 2, 2, 3, 3]))
    parts = draw(st.permutations(sorted(_PARTS)))[:number]
    return replace(shard, **{part: draw(_PARTS[part]) for part in parts})
