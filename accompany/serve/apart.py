"""Work on files of visitors in a process of its own: a crash, all memory or no end of it do not touch the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress


def run_apart(module: str, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE WORDS` on one core; returns its exit code and what it said.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended with everything that it had started.
    """
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **threads, **paths},
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    finally:
        _end(process)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def limit_memory(n_bytes: int) -> None:
    """Let this process and each that it starts have no more memory, where the system can see to it."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and its own, unless it has ended."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
