"""Tables of Delta Lake, Iceberg and Hudi: their folders also hold what is deleted from them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Kind:
    name: str
    sign: re.Pattern[str]
    """Matches a path below the input that only such a table has. Where its group `sure` has no
    match, the folder must also hold data/ to count as a table."""
    export: str
    """What reads the present version."""


_KINDS = (
    _Kind(
        "a Delta table (it holds _delta_log/)",
        re.compile(r"(?:\A|/)(?P<sure>_delta_log)/"),
        "with deltalake, Spark, or duckdb: COPY (FROM delta_scan('TABLE')) TO 'NEW/part.parquet'",
    ),
    _Kind(
        "an Iceberg table (it holds metadata/*.metadata.json)",
        # Files with the names that Iceberg itself gives show a table even without data/ beside.
        re.compile(
            r"(?:\A|/)metadata/(?P<sure>v\d+(?=\.)|\d{5}-)?[^/]*\.metadata\.json(?:\.gz)?\Z"
        ),
        "with pyiceberg, Spark, or duckdb: COPY (FROM iceberg_scan('TABLE')) TO 'NEW/part.parquet'",
    ),
    _Kind(
        "a Hudi table (it holds .hoodie/)",
        re.compile(r"(?:\A|/)(?P<sure>\.hoodie)/"),
        "with Spark: spark.read.format('hudi').load('TABLE').write.parquet('NEW')",
    ),
)


SIGNS = ("_delta_log", "metadata", ".hoodie")
"""The folders of which one lies right in a table's folder."""


def tables(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the folder of each table, and why it cannot be read file by file.

    Names are relative, those of folders end in "/"; the folder is "" for the root.
    """
    signs = ((kind, kind.sign.search(name)) for name in names for kind in _KINDS)
    for kind, folder, sure in dict.fromkeys(
        (kind, sign.string[: sign.start()], bool(sign["sure"])) for kind, sign in signs if sign
    ):
        data = f"{folder}/data/".removeprefix("/")
        if sure or any(name.startswith(data) for name in names):
            yield folder, _why(kind)


def _why(kind: _Kind) -> str:
    return (
        f"{kind.name}: the files of rows that were deleted or replaced still lie there, and would "
        "be read with the others. Export its present version to a folder of Parquet files and "
        f"give that one: {kind.export}"
    )
