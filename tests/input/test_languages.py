"""Languages however they are written are those that the job has words in; others stay."""

import pyarrow as pa
import pytest

from medsent.input.languages import as_spoken


def read(*written: str | None, spoken: tuple[str, ...] = ("en", "pl")) -> list[str | None]:
    made: list[str | None] = as_spoken(pa.array(written, pa.string()), spoken).to_pylist()
    return made


@pytest.mark.parametrize(
    "written",
    ["pl", "PL", "pl-PL", "pl_PL", "pol", "POL", "Polish", "polski", " pl", "pl_PL.UTF-8",
     "Polish (Poland)", "pl-Latn-PL"],
)  # fmt: skip
def test_polish_however_it_is_written(written: str) -> None:
    assert read(written) == ["pl"]
    assert read(written, spoken=("en",)) == [written]


@pytest.mark.parametrize("written", ["en", "EN", "en-GB", "eng", "English", "angielski"])
def test_english_however_it_is_written(written: str) -> None:
    assert read(written) == ["en"]


def test_any_language_with_words_is_found_by_its_names() -> None:
    assert read("German", "deu", "ger", "de_AT", spoken=("de", "en")) == ["de"] * 4


def test_a_region_with_words_of_its_own_is_that_one() -> None:
    spoken = ("pt", "pt-BR", "zh-Hant")
    assert read("PT_br", "pt-PT", "zh-hant", spoken=spoken) == ["pt-BR", "pt", "zh-Hant"]
    assert read("zh-TW", "zh", spoken=spoken) == ["zh-TW", "zh"]


def test_what_is_no_language_of_the_job_stays_as_it_is() -> None:
    odd = ["zh/Hant", "a=b", "100%", "", None, "..", "nan", "x" * 300, "pl|en", "de", "\u202elp"]
    assert read(*odd) == odd
    assert read() == []
