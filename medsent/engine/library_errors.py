"""A library's error in one line: its root cause, whether it would come again, what to do.

Its words may quote a prompt: they are for errors from before any opinion was read.
"""

from typing import Any, Final

OUT_OF_MEMORY: Final = "out of memory"

_MEMORY_KINDS = {"OutOfMemoryError", "MemoryError"}
_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")
_CACHE_SIGNS = ("No available memory for the cache blocks", "with the model's max seq len")

_REFERENCES = (
    "see stack trace", "see root cause", "stack trace above", "check the logs", "traceback above",
)  # fmt: skip
"""What an error says that only stands for another one, which was logged before it."""

_PASSING_KINDS = (ConnectionError, TimeoutError, EOFError, InterruptedError, BlockingIOError)
_PASSING_NAMES = {
    "AcceleratorError", "DistBackendError", "DistNetworkError", "DistStoreError", "ZMQError",
    "NCCLError", "NVMLError",
    # A file of vLLM's compile cache, which nodes share, that another engine is just writing.
    "SyntaxError", "JSONDecodeError", "UnpicklingError",
}  # fmt: skip
_PASSING_SIGNS = (
    "cuda error", "cudnn error", "cublas error", "cuda-capable device", "nccl", "timed out",
    "address already in use", "free memory on device", "connection",
)  # fmt: skip
"""Errors of a device, of the network or of the moment: another start, or another node, may do."""

_MODEL_AGAIN = "the model's files are not whole or not of this architecture; fetch them again"
_REMEDIES = {
    "Free memory on device": "end what else holds that GPU's memory, or lower "
    "engine.gpu_memory_utilization",
    _CACHE_SIGNS[0]: "raise engine.gpu_memory_utilization, lower engine.max_num_batched_tokens, or "
    "take more GPUs an engine (model.tensor_parallel_size) or a quantised model",
    _CACHE_SIGNS[1]: "lower model.max_model_len, or give the KV cache more: "
    "engine.gpu_memory_utilization on a GPU, engine.kv_cache_gib on a CPU",
    "max_model_len": "lower model.max_model_len",
    "not initialized from checkpoint": _MODEL_AGAIN,
    "Cannot find any model weights": _MODEL_AGAIN,
    "SafetensorError": _MODEL_AGAIN,
    "size mismatch": _MODEL_AGAIN,
    "C compiler": "install g++ where engines run, as cluster/Dockerfile.gpu does",
    "nvcc": "cluster/README.md says how an engine starts without it",
    "No module named": "install it where engines run",
    "AsyncEngineArgs.__init__() got an unexpected": "take it out of engine.options",
    "READY_TIMEOUT": "where weights lie on a slow disk, raise VLLM_ENGINE_READY_TIMEOUT_S there",
    "SIGKILL": "the kernel kills a process in this way when the machine runs out of memory",
}
"""A sign in an error's line to what to do about it; the first that is found is told."""

_ELSEWHERE = "Traceback (most recent call last)"
"""Stands in an error's words where they quote the error of another process."""
_MOST_CHARACTERS = 300


def kind_of(error: BaseException) -> str:
    """Return `out of memory`, or the name of the error's class."""
    for each in _chain(error):
        if type(each).__name__ in _MEMORY_KINDS:
            return OUT_OF_MEMORY
        if any(sign in str(each).lower() for sign in _MEMORY_SIGNS):
            return OUT_OF_MEMORY
    return type(error).__name__


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line; its kind where that is nothing."""
    return str(error).partition("\n")[0] or type(error).__name__


def words(error: BaseException) -> str:
    """Return an error's kind and first line that says something, and those of its cause."""
    told = _line(error)
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    cause = _line(root)
    if root is error or cause.partition(": ")[2] in told or _ELSEWHERE in str(error):
        return told
    return f"{told} (from {cause})"


def is_reference(told: str) -> bool:
    """Tell whether words only say that the cause stands elsewhere."""
    return any(sign in told.lower() for sign in _REFERENCES)


def is_lack_of_cache(told: str) -> bool:
    """Tell whether words say that model and batch leave the KV cache no room."""
    return any(sign in told for sign in _CACHE_SIGNS)


def is_certain(error: BaseException) -> bool:
    """Tell whether an error would come again at each start: of settings, files or versions."""
    return not any(
        isinstance(each, _PASSING_KINDS)
        or type(each).__name__ in _PASSING_NAMES
        or any(sign in _line(each).lower() for sign in _PASSING_SIGNS)
        for each in _chain(error)
    )


def with_remedy(told: str) -> str:
    """Return words with what to do about them, where that is known."""
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in told), None)
    return f"{told}; {remedy}" if remedy else told


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that it came from, outermost first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _line(error: BaseException) -> str:
    problems: Any = getattr(error, "errors", None)
    if type(error).__name__ == "ValidationError" and callable(problems):
        return _problem(error, problems())
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if _ELSEWHERE in text:
        return _cut(lines[-1])  # its kind is there
    headed = len(lines) > 1 and lines[0].endswith(":")
    return _cut(f"{type(error).__name__}: {' '.join(lines[: 1 + headed])}")


def _problem(error: Any, problems: list[dict[str, Any]]) -> str:
    """Return the first that pydantic finds, without its heading."""
    if not problems:
        return type(error).__name__
    first = problems[0]
    place = ".".join([str(error.title), *map(str, first["loc"])])
    line = str(first["msg"]).removeprefix("Value error, ").strip().partition("\n")[0]
    return _cut(f"{place}: {line}")


def _cut(line: str) -> str:
    """Return a line that is not too long, at the end of a sentence if there is one."""
    if len(line) <= _MOST_CHARACTERS:
        return line
    end = line.rfind(". ", 0, _MOST_CHARACTERS)
    return line[: end + 1] if end > 0 else f"{line[:_MOST_CHARACTERS]} ..."
