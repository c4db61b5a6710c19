"""A hub's model is one commit, whole, the same on every node, and had once."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medsent.config.job import JobConfig
from medsent.errors import AdapterError, MedsentError, ModelError
from medsent.models.adapter import open_adapter
from medsent.models.hashes import kept_sha256
from medsent.models.hub import snapshot
from medsent.models.source import content_sha256, resolve_model
from medsent.scoring.plan import make_plan
from tests.chaos.tokenizer import write_tokenizer
from tests.conftest import AdapterWriter, JobBuilder
from tests.models.hub import LARGE, Hub, commit, served

pytestmark = pytest.mark.slow


def tokenizer_files() -> dict[str, bytes]:
    """Return a small tokenizer's files: a plan loads it."""
    with tempfile.TemporaryDirectory() as made:
        folder = write_tokenizer(Path(made) / "model")
        return {file.name: file.read_bytes() for file in folder.iterdir()}


FILES = {
    **tokenizer_files(),
    "model.safetensors": LARGE,
    "README.md": b"not fetched",
    "pytorch_model.bin": b"not fetched",
    "original/consolidated.safetensors": b"not fetched",
}
FETCHED = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
NEWER = {**FILES, "model.safetensors": LARGE + b"other"}
OLD, NEW = commit("old"), commit("new")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose `main` is the old commit, and a machine's empty cache."""
    monkeypatch.setenv("MEDSENT_CACHE", str(tmp_path / "cache"))
    made = Hub({OLD: FILES, NEW: NEWER}, {"main": OLD, "v2": NEW})
    with served(made) as address:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        constants = {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
        }
        for name, value in constants.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        yield made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_only_what_a_model_is_made_of_is_fetched(hub: Hub, said: list[str]) -> None:
    folder = resolve_model("owner/name")
    assert resolve_model("owner/name") == folder
    assert said == ["Fetching owner/name from the hub ..."]
    assert folder.name == OLD
    assert {path.name for path in folder.iterdir()} == FETCHED


def test_without_its_weights_a_model_is_had_and_they_come_later(hub: Hub, said: list[str]) -> None:
    index = json.dumps({"weight_map": {"a": "model.safetensors"}}).encode()
    hub.commits[OLD] = {**FILES, "model.safetensors.index.json": index}
    said.clear()
    bare = resolve_model("owner/name", OLD, weights=False)
    assert not [path for path in hub.asked if path.endswith(".safetensors")]
    assert {path.name for path in bare.iterdir() if path.suffix == ".json"} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
    }
    assert not (bare / "model.safetensors").exists()
    assert resolve_model("owner/name", OLD) == bare
    assert (bare / "model.safetensors").read_bytes() == LARGE
    assert said == ["Fetching owner/name from the hub ..."] * 2


@pytest.mark.usefixtures("hub")
def test_weights_are_named_by_their_hash_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot("owner/name")
    plain = folder.parents[3] / "plain"
    plain.mkdir()
    for name in FETCHED:
        (plain / name).write_bytes(FILES[name])
    expected = content_sha256(plain)
    weights = folder / "model.safetensors"
    weights.resolve().chmod(0)
    assert kept_sha256(weights) == hashlib.sha256(LARGE).hexdigest()
    monkeypatch.setattr("medsent.models.hashes.hashlib.file_digest", _of_small_files)
    assert content_sha256(folder) == expected


def _of_small_files(file: Any, name: str) -> Any:
    content = file.read()
    assert len(content) < 1 << 20, "the weights were read"
    return hashlib.new(name, content)


def test_a_revision_may_be_a_branch_or_a_commit(hub: Hub) -> None:
    for revision in ("v2", NEW):
        assert resolve_model("owner/name", revision=revision).name == NEW


def test_a_commit_that_is_here_is_had_without_the_hub(hub: Hub) -> None:
    snapshot("owner/name", OLD)
    hub.asked.clear()
    assert snapshot("owner/name", OLD).name == OLD
    assert hub.asked == []


def test_what_is_here_is_taken_where_the_hub_is_not(
    hub: Hub, request: pytest.FixtureRequest
) -> None:
    folder = snapshot("owner/name")
    request.getfixturevalue("offline")
    assert snapshot("owner/name") == folder
    assert snapshot("owner/name", OLD) == folder
    with pytest.raises(ModelError, match="is not whole in this machine's cache"):
        snapshot("owner/name", NEW)


@pytest.mark.usefixtures("hub", "offline")
def test_half_a_model_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--owner--name" / "snapshots" / OLD
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(ModelError, match=r"there is no model-2\.safetensors"):
        snapshot("owner/name", OLD)


@pytest.mark.usefixtures("hub", "offline")
@pytest.mark.parametrize("content", ["{", "{}", '{"weight_map": []}'])
def test_a_damaged_index_is_named(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "hub" / "models--owner--name" / "snapshots" / OLD
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json of 'owner/name' is dam"):
        snapshot("owner/name", OLD)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((403, "GatedRepo"), "it is gated; accept its terms there and set HF_TOKEN"),
        ((401, "RepoNotFound"), "there is none of that name, or it is private and HF_TOKEN"),
        ((404, "RepoNotFound"), "there is none of that name"),
        ((503, "Busy"), r"\(status 503\)"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(
    hub: Hub, refusal: tuple[int, str], told: str
) -> None:
    hub.refusal = refusal
    with pytest.raises(ModelError, match=told) as caught:
        snapshot("owner/name")
    assert "'owner/name'" in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("hub")
def test_a_revision_that_is_none_is_named() -> None:
    with pytest.raises(ModelError, match=r"^model\.revision: 'owner/name' has no revision 'v3'"):
        snapshot("owner/name", "v3")


@pytest.mark.usefixtures("hub", "offline")
def test_without_hub_and_copy_it_says_what_to_check() -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        snapshot("owner/name")


def test_a_revision_is_for_the_hubs_models_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"^model\.revision is for a model of the hub"):
        resolve_model(str(tmp_path), revision="main")


def on_hub(job: JobBuilder, **model: str) -> JobConfig:
    return job(model={"source": "owner/name", **model})


def test_a_job_keeps_to_the_commit_it_began_with(hub: Hub, job: JobBuilder) -> None:
    plan = make_plan(on_hub(job))
    assert plan.config.model.revision == OLD
    assert plan.provenance()["model"]["revision"] == OLD
    hub.branches["main"] = NEW
    assert plan.model_on_this_node().name == OLD
    again = make_plan(plan.config)
    newer = make_plan(on_hub(job))
    assert again.fingerprint == plan.fingerprint != newer.fingerprint
    assert newer.config.model.revision == NEW


def test_a_commit_of_the_same_content_is_the_same_run(hub: Hub, job: JobBuilder) -> None:
    hub.commits[NEW] = {**FILES, "README.md": b"another"}
    plans = [make_plan(on_hub(job, revision=name)) for name in ("main", "v2")]
    assert plans[0].fingerprint == plans[1].fingerprint


def test_a_node_with_other_files_is_refused(hub: Hub, job: JobBuilder) -> None:
    plan = make_plan(on_hub(job))
    [weights] = [path for path in plan.model_on_this_node().iterdir() if path.suffix != ".json"]
    weights.unlink()
    weights.write_bytes(LARGE[::-1])
    with pytest.raises(MedsentError, match=r"another content on .* than where the job began"):
        plan.model_on_this_node()


@pytest.fixture
def adapters(hub: Hub, tmp_path: Path, write_adapter: AdapterWriter) -> Hub:
    """The hub with two commits of an adapter in place of the model's."""
    for sha, rank in ((OLD, 2), (NEW, 4)):
        folder = write_adapter(tmp_path / sha, rank=rank)
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        hub.commits[sha] = {**files, "README.md": b"a card", "optimizer.pt": b"not fetched"}
    return hub


def test_an_adapter_of_the_hub_is_one_commit_on_every_node(
    adapters: Hub, small_model: Path
) -> None:
    adapter = open_adapter("tuned", "owner/name", small_model)
    assert (adapter.rank, adapter.revision, adapter.source) == (2, OLD, "owner/name")
    adapters.branches["main"] = NEW
    assert adapter.on_this_node().name == OLD
    assert open_adapter("tuned", "owner/name", small_model, OLD).sha256 == adapter.sha256
    assert open_adapter("tuned", "owner/name", small_model, "v2").rank == 4
    assert not [path for path in adapters.asked if path.endswith("optimizer.pt")]


def test_a_job_keeps_to_the_adapters_commit(adapters: Hub, job: JobBuilder) -> None:
    config = job(variants={"plain": {}, "tuned": {"adapter": "owner/name"}})
    plan = make_plan(config)
    kept = plan.config.anchored().variants["tuned"]
    assert (kept.adapter, kept.revision) == ("owner/name", OLD)
    assert plan.config.variants["plain"].revision is None
    adapters.branches["main"] = NEW
    again = make_plan(plan.config)
    assert again.fingerprint == plan.fingerprint


def test_what_the_hub_refuses_of_an_adapter_names_its_setting(
    adapters: Hub, small_model: Path
) -> None:
    with pytest.raises(AdapterError, match=r"^variants\.tuned\.revision: 'owner/name' has no"):
        open_adapter("tuned", "owner/name", small_model, "v3")
    adapters.refusal = (404, "RepoNotFound")
    with pytest.raises(AdapterError, match=r"^variants\.tuned\.adapter: cannot get 'owner/name'"):
        open_adapter("tuned", "owner/name", small_model)


def test_a_model_of_the_hub_is_no_adapter(hub: Hub, small_model: Path) -> None:
    hub.commits[OLD] = {"config.json": b"{}", "README.md": b"a card"}
    with pytest.raises(AdapterError, match=r"has no readable adapter_config\.json"):
        open_adapter("tuned", "owner/name", small_model)
