"""The `accompany` command: dispatch to the file of a command, words to stderr and JSON to stdout, exit codes.

Exit codes: 0 done, 2 the user's input is wrong (one sentence on stderr), 1 a fault of ours, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NoReturn

from accompany.commands.console import say
from accompany.commands.parser import COMMANDS, build_parser, module_of, needs_extra
from accompany.errors import InputError

Loading = Callable[[], AbstractContextManager[None]]

_STOPPED, _OURS, _INPUT = 130, 1, 2
_CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), 127)}  # such as a line end in the name of a file
_OF_THE_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors that say that a file cannot be where somebody wants it, whatever we do."""


def run() -> NoReturn:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning takes five times as long where other work runs
    code = main(loading=collection_rests)
    gc.freeze()  # Nothing has to be taken apart at the end: that would be most of a second's search for cycles.
    sys.exit(code)


@contextmanager
def collection_rests() -> Iterator[None]:
    """Pause the cyclic garbage collector, unless it is off already; only for a process of our own.

    Importing torch and transformers makes a million objects that all stay; looking through them again and again for
    garbage takes a fifth of the imports' time. Afterwards they are frozen for good: the first search would go
    through all of them at once, and an interrupt that falls into a `__del__` there is lost. That changes the
    collector of the whole process, so the package itself leaves it alone when a program loads a model.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main(argv: Sequence[str] | None = None, loading: Loading = nullcontext) -> int:
    """Run one command and return its exit code; never raises for wrong input. Models load inside of `loading`."""
    _log_to_stderr()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        return _run(argv, loading)
    except InputError as error:
        say(f"accompany: {error}".translate(_CONTROL))
        return _INPUT
    except KeyboardInterrupt as stop:
        say(f"accompany: {stop if stop.args else 'stopped.'}")
        return _STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            say(f"accompany: The disk is full ({error.filename or 'while writing'}); free some space and run again.")
            return _INPUT
        if error.errno in _OF_THE_PLACE and error.filename:
            say(f"accompany: {error.filename}: {error.strerror}; choose another place, or make this one accessible.")
            return _INPUT
        return _fault()
    except Exception:
        return _fault()


class _StderrHandler(logging.StreamHandler):
    """Our own handler, other than those of a program that calls `main`."""


def _log_to_stderr() -> None:
    logger = logging.getLogger("accompany")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _StderrHandler)]
    logger.addHandler(_StderrHandler(sys.stderr))
    logger.setLevel(logging.INFO)


def _fault() -> int:
    traceback.print_exc()
    say("accompany: this is a fault of accompany, not yours; please report it with the lines above.")
    return _OURS


def _run(argv: Sequence[str] | None, loading: Loading) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = build_parser(words)
    args, rest = parser.parse_known_args(words)
    # argparse hands back positional arguments that follow an option; the command says where they belong.
    unknown = [word for word in rest if word.startswith("-") or not args.more]
    if unknown:
        parser.error(f"unknown argument {unknown[0]!r}")
    if rest:
        getattr(args, args.more).extend(rest)
    args.loading = loading
    with needs_extra(args.extra):
        return module_of(COMMANDS[args.command]).run(args) or 0
