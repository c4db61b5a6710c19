"""medsent: emotion labels for medical opinions, scored at any size on Ray and vLLM."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("medsent")
except PackageNotFoundError:  # a working_dir sent to a cluster, not installed there
    __version__ = "0.1.0"
