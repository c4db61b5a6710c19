"""A lease on a folder: at most one job holds it, on any storage, and a dead job's expires.

Each contender has a file of its own, which it alone writes. Storage is asked only to list,
write, read and delete whole files, and to show at once what was written. Ages are counted
on the storage's clock, by the times of the files.
"""

import logging
import os
import posixpath
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pyarrow import fs
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from medsent.errors import LeaseError

logger = logging.getLogger(__name__)

_SUFFIX = ".json"
_SCHEMES = {"s3": "s3://", "gcs": "gs://"}
_READS = 4
_READ_PAUSE_S = 0.01
_LARGEST_PID = 2**22
_SILENT = "it could not be renewed in time: storage failed, or this process was suspended"


class Claim(BaseModel):
    """What a contender's file says."""

    model_config = ConfigDict(frozen=True)

    token: str
    """The file's name, without its suffix."""
    host: str
    boot_id: str
    """Which boot of the host; empty where the host does not tell what runs on it."""
    pid_namespace: str
    """Containers of one host may see other processes under the same ids."""
    pid: Annotated[int, Field(gt=0, le=_LARGEST_PID)]
    started: int
    """The process's start, in clock ticks after the boot: process ids are used again."""
    since: AwareDatetime
    held: bool = False
    """False while it only asks for the lease."""
    beat: int = 0
    """Grows with each writing of the file."""

    @property
    def owner(self) -> str:
        """Who wrote it, in words."""
        since = self.since.astimezone(UTC)
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S} UTC"

    def is_near(self, other: "Claim") -> bool:
        """Tell whether either's process can look whether the other's runs."""
        places = [(c.host, c.boot_id, c.pid_namespace) for c in (self, other)]
        return bool(self.boot_id) and places[0] == places[1]

    def has_ended(self) -> bool:
        """Tell whether the process is gone, seen from its own host; a zombie is."""
        try:
            state, started = _stat(str(self.pid))
        except (FileNotFoundError, ProcessLookupError):
            return not _is_known(self.pid)
        except OSError:
            return False
        return state in "ZXx" or started != self.started


@dataclass(frozen=True)
class _Sight:
    """Another contender's file, as it was seen."""

    token: str
    mtime_ns: int
    claim: Claim | None
    """None where it is half written."""

    @property
    def may_hold(self) -> bool:
        return self.claim is None or self.claim.held

    @property
    def mark(self) -> tuple[int, int | None]:
        """If it has changed when the file is looked at again, somebody is writing the file."""
        return self.mtime_ns, self.claim.beat if self.claim else None

    @property
    def owner(self) -> str:
        return self.claim.owner if self.claim else f"the unreadable file {self.token}{_SUFFIX}"


@dataclass(frozen=True)
class _View:
    """The folder, as a contender sees it."""

    own_ns: int | None
    """When its own file was written, by the storage's clock; None where the file is gone."""
    others: list[_Sight]


class Lease:
    """Holds the folder around `folder` for one job, from `with` to its end.

    Raises `LeaseError` where another job holds it, and `OSError` where storage fails. One
    use, and not reentrant. All jobs of a folder give the same `beat_s` and `expiry_s`
    (seconds). A job on this host whose process is gone loses its lease at once; any other
    when its file is `expiry_s` old. `on_lost` may be called from another thread.
    """

    def __init__(
        self,
        filesystem: fs.FileSystem,
        folder: str,
        *,
        on_lost: Callable[[], None] | None = None,
        beat_s: float = 5.0,
        expiry_s: float = 30.0,
    ) -> None:
        if expiry_s < 3 * beat_s:
            raise ValueError("expiry_s must be at least three times beat_s")
        self.lost = threading.Event()
        """Set once the lease is no longer this job's, though it did not give it back."""
        self._folder = _Folder(filesystem, folder.rstrip("/"))
        scheme = _SCHEMES.get(filesystem.type_name, "")
        self._held_folder = scheme + posixpath.dirname(folder.rstrip("/"))
        self._on_lost = on_lost or (lambda: None)
        self._beat_s, self._expiry_s = beat_s, expiry_s
        self._claim = _claim()
        self._marks: dict[str, tuple[int, int | None]] = {}
        self._waiting = False
        self._beaten = _clocks()
        self._ending = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=work, name="medsent-lease", daemon=True)
            for work in (self._keep, self._watch)
        ]

    def __enter__(self) -> Self:
        self._folder.create()
        try:
            self._acquire()
        except BaseException:
            self._withdraw()
            raise
        self._marks.clear()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._ending:
            self._ended.set()
        for thread in self._threads:
            thread.join(self._expiry_s)  # storage may hang
        self._withdraw()

    def _acquire(self) -> None:
        """Hold the lease, or raise `LeaseError`.

        The candidate of the least token goes on to hold; the others step back, so that a
        start of many does not end with none. What makes the lease safe is `_hold`.
        """
        patience_s = 3 * self._expiry_s  # whatever is dead expires meanwhile
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            self._write(held=False)
            others = self._living(self._folder.view(self._claim.token))
            holders = [other for other in others if other.may_hold]
            if holders:
                self._refuse_or_wait(holders)
            elif all(self._claim.token < other.token for other in others) and self._hold():
                return
            else:
                self._withdraw()
                time.sleep(random.uniform(0, self._beat_s / 5))
        raise LeaseError(
            f"{self._held_folder}: several jobs asked for it at once, and none came to hold it "
            f"within {patience_s:g} s. Start this one again when no other is starting"
        )

    def _hold(self) -> bool:
        """Mark the lease as held; tell whether it is.

        Each marks first and looks then. So of any two, the one that marked later sees the
        other's mark, and does not hold; whoever sees one gives way, to an owner as to a
        contender. In the worst case none holds, and all try again.
        """
        self._beaten = _clocks()
        self._write(held=True)
        view = self._folder.view(self._claim.token)
        alone = not any(other.may_hold for other in self._living(view))
        return alone and view.own_ns is not None and not self._is_late(_clocks())

    def _refuse_or_wait(self, holders: list[_Sight]) -> None:
        """Raise `LeaseError` where a holder lives; wait a little where it may be dead."""
        for other in holders:
            near = other.claim is not None and other.claim.is_near(self._claim)
            if near or self._marks.setdefault(other.token, other.mark) != other.mark:
                raise LeaseError(self._refusal(other, near))
        if not self._waiting:
            self._waiting = True
            logger.info(
                f"{self._held_folder} is held by another job ({holders[0].owner}). Waiting to "
                f"see whether it lives: if not, its lease expires within {self._expiry_s:g} s."
            )
        time.sleep(self._beat_s / 2)

    def _refusal(self, other: _Sight, near: bool) -> str:
        expires = f"expires {self._expiry_s:g} s after its last beat"
        return (
            f"{self._held_folder} is held by another job: {other.owner}. Wait for it, or end "
            f"it; its lease {'ends with its process' if near else expires}"
        )

    def _living(self, view: _View) -> list[_Sight]:
        """Return the others that are not known to be dead; delete the files of those that are."""
        living = []
        for other in view.others:
            death = self._death(other, view.own_ns)
            if death is None:
                living.append(other)
                continue
            self._folder.delete(other.token)
            if other.may_hold:
                logger.info(f"Taking over {self._held_folder} from {other.owner}: {death}.")
        return living

    def _death(self, other: _Sight, now_ns: int | None) -> str | None:
        """Return how another is known to be dead; None where it is not."""
        if other.claim is not None and other.claim.is_near(self._claim):
            return "that process has ended" if other.claim.has_ended() else None
        if now_ns is not None and now_ns - other.mtime_ns > self._expiry_s * 1e9:
            return f"no beat for {self._expiry_s:g} s"
        return None

    def _keep(self) -> None:
        """Beat until the end; a beat that fails is tried again at the next one's time."""
        while not self._ended.wait(self._beat_s):
            with suppress(OSError):  # `_watch` counts how long none succeeds
                self._beat()

    def _beat(self) -> None:
        """Write the own file again, if the lease still is this job's."""
        clocks = _clocks()
        view = self._folder.view(self._claim.token)
        rival = self._rival(view)
        if self._is_late(clocks):
            self._lose(_SILENT)
        elif view.own_ns is None:
            self._lose("its file is gone, so another job may have taken over")
        elif rival is not None:
            self._lose(f"another job has taken over ({rival.owner})")
        else:
            self._write(held=True)
            self._beaten = clocks
        if self._ended.is_set():  # maybe while the writing hung: then it brought the file back
            self._withdraw()

    def _rival(self, view: _View) -> _Sight | None:
        """Return another that holds the lease and beats; None where there is none.

        One that does not beat is a contender about to give way, or died as one.
        """
        holders = [other for other in view.others if other.claim and other.claim.held]
        before = self._marks
        self._marks = {other.token: other.mark for other in holders}
        for other in holders:
            if before.get(other.token, other.mark) != other.mark:
                return other
        return None

    def _watch(self) -> None:
        """Notice silence, whether storage fails, hangs, or this process was suspended."""
        while not self._ended.wait(self._beat_s / 2):
            if self._is_late(_clocks()):
                self._lose(_SILENT)

    def _is_late(self, clocks: tuple[float, float]) -> bool:
        gaps = (now - then for now, then in zip(clocks, self._beaten, strict=True))
        return max(gaps) > self._expiry_s - self._beat_s  # a beat before others may take over

    def _lose(self, why: str) -> None:
        with self._ending:
            if self._ended.is_set():
                return
            self._ended.set()
            self.lost.set()
        try:
            logger.warning(f"The lease on {self._held_folder} is lost: {why}.")
        finally:
            self._on_lost()
            self._withdraw()

    def _write(self, *, held: bool) -> None:
        self._claim = self._claim.model_copy(update={"held": held, "beat": self._claim.beat + 1})
        self._folder.write(self._claim)

    def _withdraw(self) -> None:
        with suppress(OSError):  # what cannot be deleted expires
            self._folder.delete(self._claim.token)


@dataclass(frozen=True)
class _Folder:
    """The contenders' files."""

    filesystem: fs.FileSystem
    path: str

    def create(self) -> None:
        self.filesystem.create_dir(self.path, recursive=True)

    def write(self, claim: Claim) -> None:
        with self.filesystem.open_output_stream(self._file(claim.token)) as stream:
            stream.write(claim.model_dump_json().encode())

    def delete(self, token: str) -> None:
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self._file(token))

    def view(self, token: str) -> _View:
        """Return what the contender of this token sees."""
        listed = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        mtimes = {
            info.base_name.removesuffix(_SUFFIX): info.mtime_ns or 0
            for info in listed
            if info.type == fs.FileType.File and info.base_name.endswith(_SUFFIX)
        }
        own_ns = mtimes.pop(token, None)
        others = [self._sight(other, mtime_ns) for other, mtime_ns in sorted(mtimes.items())]
        return _View(own_ns, [other for other in others if other is not None])

    def _sight(self, token: str, mtime_ns: int) -> _Sight | None:
        """Read a file; None where it is gone. One that is being written is read again."""
        for _ in range(_READS):
            try:
                with self.filesystem.open_input_stream(self._file(token)) as stream:
                    return _Sight(token, mtime_ns, Claim.model_validate_json(stream.read()))
            except FileNotFoundError:
                return None
            except ValueError:
                time.sleep(_READ_PAUSE_S)
        return _Sight(token, mtime_ns, None)

    def _file(self, token: str) -> str:
        return f"{self.path}/{token}{_SUFFIX}"


def _claim() -> Claim:
    """Return a new claim of this process."""
    boot_id, pid_namespace, started = "", "", 0
    with suppress(OSError):
        _, started = _stat("self")
        if _stat(str(os.getpid()))[1] == started:  # else /proc is of another namespace
            pid_namespace = str(Path("/proc/self/ns/pid").readlink())
            boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Claim(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        boot_id=boot_id,
        pid_namespace=pid_namespace,
        pid=os.getpid(),
        started=started,
        since=datetime.now(UTC),
    )


def _stat(process: str) -> tuple[str, int]:
    """Return a process's state and start, the 3rd and the 22nd field of its `stat` (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])


def _is_known(pid: int) -> bool:
    """Tell whether there is such a process: /proc may hide those of other users."""
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _clocks() -> tuple[float, float]:
    """Return two clocks in seconds: one runs evenly, the other goes on in a machine asleep."""
    return time.monotonic(), time.time()
