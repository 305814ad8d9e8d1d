"""Stops of a training run by a signal: all processes agree at the end of a batch, save, and end within a bound.

A handler only takes note. A collective or a checkpoint in a handler comes at any line of a step: between processes that
are at different lines it hangs, and what it saves is half of a step.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.utilities.exceptions import SIGTERMException

_LAUNCHER = "ACCOMPANY_LAUNCHER"
"""Environment variable of the processes that a run starts for its further devices: the process that started them."""
_NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_STARTING_S, _STEP_S, _SAVING_S = 5.0, 60.0, 300.0
"""Longest times from a signal until the end: before the first step, in one (besides three times the longest batch so
far), and while the checkpoint is written."""


class Stopped(BaseException):
    """The run ends because of a signal. No `except Exception` of the libraries in between may swallow it.

    Attributes:
        signum: the signal.
        agreed: every process stops at this step, whose state is saved.
    """

    def __init__(self, signum: int, *, agreed: bool = False) -> None:
        super().__init__(signum)
        self.signum, self.agreed = signum, agreed

    def at(self, step: int) -> str:
        """The sentence for the user."""
        name = _NAMES.get(signal.Signals(self.signum)) or signal.Signals(self.signum).name
        return f"Stopped by {name} at step {step}, which is saved; run it again to go on."

    def end(self, step: int) -> BaseException:
        """Exception that ends the process: KeyboardInterrupt after Ctrl-C, else SystemExit with the shell's code."""
        if is_launched():  # Lightning's observer kills the first process when another fails
            return SystemExit(0 if self.agreed else 128 + self.signum)
        if self.signum == signal.SIGINT:
            return KeyboardInterrupt(*([self.at(step)] if self.agreed else []))
        return SystemExit(128 + self.signum)


class Stopping(Callback):
    """Ends training at the end of the batch, or of the validation's batch, in which any process got a signal.

    Args:
        request: a file whose presence asks for a stop, as a signal does, where no signal reaches the process.
    """

    def __init__(self, request: Path | None = None) -> None:
        self.request = request
        self.wanted, self.agreed = 0, 0
        self._running = False
        self._deadline: float | None = None
        self._over = threading.Event()
        self._latest, self._longest_s = 0.0, 0.0

    @contextmanager
    def handling_signals(self, trainer: lightning.Trainer) -> Iterator[None]:
        """Take signals from here to the end of the block, in place of Lightning."""
        trainer._signal_connector = _NoHandlers(trainer)
        if is_launched():
            _end_with(int(os.environ[_LAUNCHER]), self._over)
        if threading.current_thread() is not threading.main_thread():  # a worker of Ray
            yield
            return
        before = {signum: signal.signal(signum, self._take_note) for signum in _signals_of(trainer)}
        ours, thread_end = socket.socketpair()
        ours.setblocking(False)
        fd_before = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        watchdog = threading.Thread(target=self._bound, args=(thread_end, set(before), trainer), daemon=True)
        watchdog.start()
        try:
            with _launching(trainer):
                try:
                    yield
                except SIGTERMException as stop:
                    raise Stopped(self.agreed, agreed=True) from stop
                if self.wanted:  # after the last step
                    raise Stopped(self.wanted, agreed=True)
        finally:
            self._over.set()
            signal.set_wakeup_fd(fd_before)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            ours.close()
            watchdog.join()
            thread_end.close()

    def _take_note(self, signum: int, frame: Any) -> None:
        self.wanted = self.wanted or signum
        if not self._running:
            raise Stopped(signum)

    def _bound(self, awake: socket.socket, signals: set[int], trainer: lightning.Trainer) -> None:
        """End the process when it has not stopped in time after a signal; no handler runs in code that never returns.

        Python writes the numbers of signals into the other end of `awake` at once, wherever the main thread is.
        """
        while not (found := [number for number in awake.recv(64) or [0] if number in signals or not number]):
            pass
        if not found[0]:
            return
        started = time.monotonic()
        while not self._over.wait(0.2):
            allowed = _STEP_S + 3 * self._longest_s if self._running else _STARTING_S
            if time.monotonic() > (self._deadline or started + allowed):
                _kill_launched(trainer)
                os._exit(128 + found[0])

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """From here on there is a state to save."""
        self._running, self._latest = True, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop here, if any process is to."""
        self._agree(trainer)

    def on_validation_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop here, if any process is to."""
        self._agree(trainer)

    def _agree(self, trainer: lightning.Trainer) -> None:
        if self.agreed:
            return
        now = time.monotonic()
        self._longest_s, self._latest = max(self._longest_s, now - self._latest), now
        if self.request is not None and self.request.exists():
            self.wanted = self.wanted or signal.SIGTERM
        wanted = self.wanted
        if trainer.world_size > 1:
            # Every process is here once a batch, so that this meets no other collective.
            mine = torch.tensor(wanted, device=trainer.strategy.root_device)
            wanted = int(trainer.strategy.reduce(mine, reduce_op="max"))
        if wanted:
            self.agreed, self._deadline = wanted, time.monotonic() + _SAVING_S
            # Lightning ends the batch, whose loss is logged then, with SIGTERMException in every process.
            trainer._signal_connector.received_sigterm = True

    def requeued(self, trainer: lightning.Trainer) -> bool:
        """Whether the stop was a preemption by SLURM: saved, and queued again."""
        environment = _slurm(trainer)
        if environment is None or self.agreed != environment.requeue_signal:
            return False
        trainer._signal_connector._slurm_sigusr_handler_fn(self.agreed, None)  # type: ignore[arg-type]
        return True


class _NoHandlers(_SignalConnector):
    """Leaves signals alone: Lightning's handlers broadcast and save in the middle of a step."""

    def register_signal_handlers(self) -> None:
        """Register none."""


def is_launched() -> bool:
    """Whether a run on several devices started this process for one of the further ones."""
    return _LAUNCHER in os.environ and os.environ[_LAUNCHER] != str(os.getpid())


def _signals_of(trainer: lightning.Trainer) -> list[int]:
    environment = _slurm(trainer)
    more = [] if environment is None or environment.requeue_signal is None else [int(environment.requeue_signal)]
    return [signal.SIGTERM, signal.SIGINT, *more]


def _slurm(trainer: lightning.Trainer) -> SLURMEnvironment | None:
    environment = trainer._accelerator_connector.cluster_environment
    return environment if isinstance(environment, SLURMEnvironment) and environment.auto_requeue else None


def _end_with(parent: int, over: threading.Event) -> None:
    """End this process when the one that started it does, however that ended, until `over`."""

    def watch() -> None:
        while not over.wait(1):
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _launching(trainer: lightning.Trainer) -> Iterator[None]:
    """Let the processes that Lightning starts know who did, and leave none of them behind."""
    if not is_launched():
        os.environ[_LAUNCHER] = str(os.getpid())
    try:
        yield
    except Stopped as stop:
        for process in _launched(trainer) if stop.agreed else []:
            with suppress(Exception):
                process.wait(timeout=5)
        _kill_launched(trainer)
        raise
    except BaseException:
        _kill_launched(trainer)
        raise
    finally:
        if not is_launched():
            os.environ.pop(_LAUNCHER, None)


def _launched(trainer: lightning.Trainer) -> list[Any]:
    return list(getattr(trainer.strategy.launcher, "procs", []))


def _kill_launched(trainer: lightning.Trainer) -> None:
    for process in _launched(trainer):
        with suppress(OSError):
            process.kill()
