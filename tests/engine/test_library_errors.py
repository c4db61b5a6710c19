"""A library's error in one line that says what is wrong, and whether it would be so again."""

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from medsent.engine.library_errors import is_certain, with_remedy, words


class ModelConfig(BaseModel):
    max_model_len: int = Field(8, ge=1)
    model: str = ""

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if model:
            raise ValueError(f"Architectures [{model!r}] are not supported.\nMore of it.")
        return model


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_model_len": 0}, "ModelConfig.max_model_len: Input should be greater than or equal"),
        ({"model": "X"}, "ModelConfig.model: Architectures ['X'] are not supported."),
    ],
)
def test_a_validators_heading_is_left_out(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig.model_validate(values)
    line = words(caught.value)
    assert line.startswith(told)
    assert "\n" not in line
    assert "More of it" not in line
    assert is_certain(caught.value)


def test_a_long_line_ends_with_a_sentence_where_it_has_one() -> None:
    assert words(ValueError(f"It is not known. Known are {'x, ' * 200}")) == (
        "ValueError: It is not known."
    )
    assert len(words(ValueError("x" * 1000))) < 310


def test_of_another_processs_trace_the_last_line_is_told() -> None:
    error = RuntimeError(
        "Raised in subprocess:\nTraceback (most recent call last):\n  File x\nKeyError: 'gemma'\n"
    )
    error.__cause__ = OSError("Command returned 1")
    assert words(error) == "KeyError: 'gemma'"


def test_an_error_without_words_is_told_by_its_kind() -> None:
    assert words(NotImplementedError()) == "NotImplementedError"


@pytest.mark.parametrize(
    ("error", "certain"),
    [
        (ValueError("a wrong setting"), True),
        (ImportError("torchvision"), True),
        (NotImplementedError("cpu_gemm_wna16"), True),
        (KeyError("layers.3"), True),
        (AttributeError("x"), True),
        (FileNotFoundError("config.json"), True),
        (RuntimeError("Cannot find any model weights"), True),
        (ConnectionRefusedError(), False),
        (TimeoutError(), False),
        (RuntimeError("NCCL error: unhandled system error"), False),
        (type("AcceleratorError", (RuntimeError,), {})("x"), False),
        (OSError("Address already in use"), False),
        (SyntaxError("unexpected EOF while parsing"), False),
    ],
)
def test_what_another_start_cannot_mend_is_certain(error: Exception, certain: bool) -> None:
    assert is_certain(error) == certain
    outer = RuntimeError("it did not start")
    outer.__cause__ = error
    assert is_certain(outer) == certain


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("Free memory on device cuda:0 (1/79 GiB) is less", "lower engine.gpu_memory_utilization"),
        ("No available memory for the cache blocks.", "raise engine.gpu_memory_utilization"),
        ("To serve at least one request with the model's max seq len (9)", "engine.kv_cache_gib"),
        ("User-specified max_model_len (9) is greater", "lower model.max_model_len"),
        ("SafetensorError: Error while deserializing header", "fetch them again"),
        ("Failed to find C compiler", "install g++"),
        ("AsyncEngineArgs.__init__() got an unexpected keyword argument 'x'", "engine.options"),
    ],
)
def test_what_is_known_to_help_is_said(line: str, setting: str) -> None:
    assert setting in with_remedy(line)


def test_what_is_not_known_is_left_as_it_is() -> None:
    assert with_remedy("something new") == "something new"
