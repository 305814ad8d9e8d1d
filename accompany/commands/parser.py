"""The command line's table of commands, and what their parsers share; each command's own file declares and runs it."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import accompany
from accompany.commands import values
from accompany.commands.console import say
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.api import Band

COMMANDS = {
    "generate": "generate",
    "demo": "demo",
    "analyse": "analyse",
    **dict.fromkeys(("retake", "vary", "extend", "undo", "takes"), "edits"),
    "remake": "remake",
    "completion": "completion",
    "synth": "synth",
    "prepare": "prepare",
    "tokenize": "tokenize",
    "train": "train",
    "tune": "tune",
    "export": "export",
    "bundle": "bundle",
    "push": "push",
    "import": "import_llambada",
    "evaluate": "evaluate",
    "recipe": "recipe",
    "bench": "bench",
    "serve": "serve",
    "models": "models",
    "doctor": "doctor",
}
"""Commands in the order of the help, and the module of `accompany.commands` that declares (`add`) and runs each."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        option, _, sentence = message.partition(": ")
        if message.endswith("."):  # of a type, which says it all
            raise InputError(sentence if sentence.startswith("--") else f"{option[0].upper()}{option[1:]}: {sentence}")
        raise InputError(f"{message[0].upper()}{message[1:]}; see {self.prog} --help.")


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the command that these words begin with, whose file alone is imported; else of all commands."""
    parser = _Parser(prog="accompany", description="Sing in, band out.", epilog="See accompany COMMAND --help.")
    parser.add_argument("--version", action="version", version=f"accompany {accompany.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chosen = words[:1] if words and words[0] in COMMANDS else COMMANDS
    for module in dict.fromkeys(COMMANDS[name] for name in chosen):
        module_of(module).add(commands)
    return parser


def module_of(name: str) -> ModuleType:
    """A module of `accompany.commands`."""
    return importlib.import_module(f"accompany.commands.{name}")


def command(
    commands: Any, name: str, help_: str, example: str, more: str = "", extra: str = ""
) -> argparse.ArgumentParser:
    """Add the parser of a command.

    Args:
        commands: of the whole command line.
        name: what is typed.
        help_: a line in the list of commands.
        example: a command line, or several.
        more: the argument that takes words which follow an option, such as further vocals.
        extra: of the package, in which the command's libraries are.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name, more=more, extra=extra)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options of what plays, which `load` reads."""
    help_ = "bundled name, folder or hub id (default tiny)"
    parser.add_argument("--model", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    help_ = "auto (half on CUDA, else float32), float32, bfloat16, float16, or int8: weights of 8 bits, for big models"
    parser.add_argument("--precision", type=values.PRECISION, default="auto", metavar="NAME", help=help_)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")


def load(args: argparse.Namespace) -> Band:
    """The model that the arguments name, which is described in a line."""
    with args.loading():
        band = accompany.load(
            args.model,
            device=args.device,
            precision=args.precision,
            lora=getattr(args, "lora", ()),
            lora_scale=getattr(args, "lora_scale", 1.0),
        )
    say(band.describe())
    return band


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turn the absence of an optional package into the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if not name or missing in ("accompany", ""):
            raise
        from accompany.common import extras

        raise extras.missing(missing, name, "This command") from error
