"""Subprocesses that end with their parent, worker pools, and folder locks."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from accompany.common.files import require_writable
from accompany.errors import InputError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_log = logging.getLogger(__name__)

_LOCK = ".lock"
_PATIENCE_S = 60


def run_as_process(words: Sequence[str], folder: Path) -> int:
    """Run `accompany WORDS` in a folder and return its exit code (negative: the signal that killed it).

    An exception here (Ctrl-C, a signal) stops the command, lets it tidy up, and leaves none of its processes behind.
    """
    package_root = str(Path(__file__).parent.parent.parent)
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    # A folder there, such as one called tokens, must not be taken for a module.
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
def worker_pool(
    workers: int, start: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one, and at once when the block is left by an exception.

    What they were at is lost then: they must write under temporary names. Ctrl-C is left to this process.

    Args:
        workers: how many.
        start: called once in each with `arguments`; a function of a module.
    """
    # A forked child of a process with running threads may hang, so workers start afresh. Each waits for the end of a
    # pipe whose other end this process alone has: the system closes it however this process ends.
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    # Imports of `start`, such as torch, come after the watch has begun.
    work = pickle.dumps((start, arguments))
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(theirs, work))
    try:
        yield pool
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        theirs.close()


def _start_worker(pipe: Connection, work: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    start, arguments = pickle.loads(work)
    if start is not None:
        start(*arguments)


def _end_with(pipe: Connection) -> None:
    pipe.poll(None)
    os._exit(1)


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
    lock = _lock(folder)
    try:
        with lock:
            with suppress(OSError):  # On a full disk the lock holds without its words.
                lock.truncate(0)
                lock.write(f"{doing}, process {os.getpid()}")
                lock.flush()
            os.set_inheritable(lock.fileno(), True)
            yield
    finally:
        with suppress(InputError, OSError), _lock(folder):  # and no command that goes on has it
            (folder / _LOCK).unlink()


def _lock(folder: Path) -> TextIO:
    """The open file that holds a folder. InputError when another process has it, or it cannot be made."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # No symbolic link: the text would go to its target.
            opened = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise InputError(f"Cannot write {folder / _LOCK} ({error.strerror}); choose another folder.") from error
        lock = os.fdopen(opened, "r+", encoding="utf-8")
        try:
            _hold(lock, folder)
            if _is_there(folder / _LOCK, lock):
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()  # A run that ended has deleted it since.


def _is_there(path: Path, lock: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


def _hold(lock: TextIO, folder: Path) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        _log.warning("This system cannot hold %s; see to it that no other run works there.", folder)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
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
