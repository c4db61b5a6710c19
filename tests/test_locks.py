"""The locks: every library by its hash, and torch's two builds as they say."""

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path("requirements")
LOCKS = ("cpu.txt", "gpu.txt", "quantise.txt", "torch.txt", "cuda.txt")


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return library to (version, hashes)."""
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^([a-z0-9._-]+)==(\S+)(.*)$", text, re.MULTILINE)
    return {
        name: (version, frozenset(re.findall("--hash=sha256:([0-9a-f]{64})", rest)))
        for name, version, rest in found
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_library_has_a_hash(lock: str) -> None:
    assert pins(lock)
    assert [name for name, (_, hashes) in pins(lock).items() if not hashes] == []


def test_torchs_cuda_build_is_that_of_the_lock_for_gpus() -> None:
    gpu, cuda = pins("gpu.txt"), pins("cuda.txt")
    assert {name: gpu[name] for name in cuda} == cuda
    assert set(pins("torch.txt")) == {"torch"} < set(cuda)
    assert pins("torch.txt")["torch"][0] == f"{cuda['torch'][0]}+cpu"


@pytest.mark.parametrize("lock", ["cpu.txt", "quantise.txt"])
def test_what_torch_depends_on_is_locked(lock: str) -> None:
    needed = {"filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy"}
    assert needed | {"markupsafe", "mpmath", "typing-extensions"} <= set(pins(lock))


@pytest.mark.parametrize("file", ["Makefile", "cluster/Dockerfile.cpu", "cluster/Dockerfile.gpu"])
def test_nothing_is_installed_without_its_hash_or_its_dependencies_unseen(file: str) -> None:
    text = Path(file).read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"(?:pip install|\$\(PIP\)) ([^\n;|&]*)", text)
    assert len(installs) > 1
    for install in installs:
        assert "--no-deps" in install
        assert "--require-hashes" in install or install.split()[-1] in (".", "$(TORCH)")
