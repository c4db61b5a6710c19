"""The columns in a path are those that Hive, Spark, pyarrow and others wrote there."""

import os
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsent.input.partitions import partition_values


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/data/in/a.parquet", {}),
        ("/in/language=pl/month=2026-01/a.parquet", {"language": "pl", "month": "2026-01"}),
        ("bucket/in/_source=sms/a", {"_source": "sms"}),
        ("/language=pl/in/language=en/a", {"language": "en"}),  # the inner one
        ("/in/a=b=c/=x/=/d=1.parquet", {"a": "b=c"}),  # not of the file's own name
        ("/in/a=__HIVE_DEFAULT_PARTITION__/b=/c", {"a": None, "b": None}),
        ("/in/dt=2026-01-01T20%3A54/a%2Fb=zh%2FHant/c=a+b/x", {
            "dt": "2026-01-01T20:54", "a/b": "zh/Hant", "c": "a+b",
        }),
        ("/in/a=100%/b=%FF/c=%zz/x", {"a": "100%", "b": "%FF", "c": "%zz"}),
        ("/in/język=polski/x", {"język": "polski"}),
        (os.fsdecode(b"/in/a=zaj\xeate/x"), {"a": r"zaj\xeate"}),
    ],
)  # fmt: skip
def test_values_of_a_path(path: str, values: dict[str, str | None]) -> None:
    assert partition_values(path) == values


TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: text != "__HIVE_DEFAULT_PARTITION__"
)


@given(st.dictionaries(TEXT, TEXT))
def test_what_was_encoded_comes_back(values: dict[str, str]) -> None:
    folders = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in values.items()]
    assert partition_values("/".join(["", *folders, "part-0.parquet"])) == values


def test_what_pyarrow_wrote_comes_back(tmp_path: Path) -> None:
    said = ["pl", "zh/Hant", "a=b", "100%", None, "język", "..", "%2F", "a b?;#", "x:y"]
    schema = pa.schema([("language", pa.string())])
    ds.write_dataset(
        pa.table({"n": range(len(said)), "language": pa.array(said)}),
        tmp_path,
        format="parquet",
        partitioning=ds.partitioning(schema, flavor="hive"),
    )
    found = {
        ds.dataset(file).to_table()["n"][0].as_py(): partition_values(str(file))["language"]
        for file in tmp_path.rglob("*.parquet")
    }
    assert [found[n] for n in range(len(said))] == said
