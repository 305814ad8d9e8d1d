"""Commands of accompany as processes of their own that end with what started them, and only one run in a folder."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from accompany.common.files import require_writable
from accompany.errors import InputError

_log = logging.getLogger(__name__)

_LOCK = ".lock"
_PATIENCE_S = 60


def run_as_process(words: Sequence[str], folder: Path) -> int:
    """Run `accompany WORDS` in a folder and return its exit code (negative: the signal that killed it).

    An exception here (Ctrl-C, a signal) stops the command, lets it tidy up, and leaves none of its processes behind.
    """
    package_root = str(Path(__file__).parent.parent.parent)
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    # What lies in the folder, such as a folder called tokens, must not be taken for a module.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "accompany", *words]
    # A session of its own: its worker processes can be ended with it, and Ctrl-C reaches it once, through us. Files
    # stay open for the lock below.
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, close_fds=False)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        raise
    finally:
        with suppress(ProcessLookupError, AttributeError):  # Windows has no process groups
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def folder_lock(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder for this process and what `run_as_process` starts.

    The system frees it when they end, however they end: a command whose starter was killed goes on, and so does its
    lock.

    Args:
        folder: made if missing.
        doing: what runs here, such as "accompany synth": what another run that wants the folder is shown.

    Raises:
        InputError: another run holds the folder, or it cannot be written.
    """
    require_writable(folder)
    with os.fdopen(_open_lock(folder), "r+", encoding="utf-8") as lock:
        _hold(lock, folder)
        with suppress(OSError):  # On a full disk the lock holds without its words.
            lock.truncate(0)
            lock.write(f"{doing}, process {os.getpid()}")
            lock.flush()
        os.set_inheritable(lock.fileno(), True)
        yield


def _open_lock(folder: Path) -> int:
    """A lock that is a link is refused: it would empty the file that it leads to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise InputError(f"Cannot write {folder / _LOCK} ({error.strerror}); choose another folder.") from error


def _hold(lock: TextIO, folder: Path) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        _log.warning("This system cannot hold %s; see to it that no other run works there.", folder)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        running = lock.read(200) or "it does not say which"
        raise InputError(
            f"Another run works in {folder} ({running}); wait for its end, or choose another folder."
        ) from error
    except OSError:  # some network file systems
        _log.warning("The file system of %s cannot hold it; see to it that no other run works there.", folder)


def peak_memory_mb() -> float | None:
    """Most memory that this process held so far, in MB of a million bytes; None where the system does not say."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6, 1)
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round((peak if sys.platform == "darwin" else peak * 1024) / 1e6, 1)
