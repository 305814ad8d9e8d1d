"""The `accompany demo` command: a sung sample, its accompaniment, and the page in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands import job_values, values
from accompany.commands.console import bar, describe, say
from accompany.commands.parser import add_model, command, load
from accompany.common.devices import choose_device, choose_precision
from accompany.common.extras import require
from accompany.common.files import check_name, require_writable

if TYPE_CHECKING:
    from accompany.api import Band

_PROMPT = "warm acoustic guitar, soft bass, brushed drums"
_EXTRA = "synth,ui"


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany demo\n  accompany demo --no-page -p 'upbeat funk band'      # the files alone"
    help_ = "make a sung sample and its accompaniment, then open the page"
    parser = command(commands, "demo", help_, example, extra=_EXTRA)
    add = parser.add_argument
    add("-p", "--prompt", default=_PROMPT, help=f"style and instruments (default: {_PROMPT})")
    add("-o", "--out", type=job_values.FOLDER, default="demo", metavar="DIR", help="folder of the files (default demo)")
    add("--seed", type=values.SEED, default=0, help="the same seed gives the same song and band (default 0)")
    add("--no-browser", action="store_true", help="serve the page without opening a browser")
    add("--no-page", action="store_true", help="make the files alone")
    add(
        "--port", type=job_values.PORT, default=8000, metavar="N", help="of the page (default 8000; 0 takes a free one)"
    )
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Make the files, and serve the page until stopped."""
    from accompany.generation.settings import Settings
    from accompany.models.pretrained import find_bundle

    Settings(args.prompt, seed=args.seed)
    require_writable(args.out)
    check_name(Path(args.out))
    if not args.no_page:
        require(_EXTRA, "fastapi", "uvicorn", what="The page (--no-page leaves it out)")
    choose_precision(args.precision, choose_device(args.device))
    find_bundle(args.model)
    if args.no_page:
        _make(args)
        return
    from accompany.serve.limits import Address, Limits
    from accompany.serve.run import serve

    visit = (lambda url: None) if args.no_browser else _open_browser
    serve(lambda: _make(args), Limits(), Address("127.0.0.1", args.port, ""), say, visit)


def _make(args: argparse.Namespace) -> Band:
    """Write the voice, the band and both together; returns the model."""
    from accompany.data.songs.write import sung_sample

    folder = Path(args.out)
    vocal = sung_sample(folder / "vocals.wav", seed=args.seed)
    band = load(args)
    with bar(vocal.name) as progress:
        take = band.generate(str(vocal), args.prompt, seed=args.seed, progress=progress)
    take.save(folder / "accompaniment.wav")
    take.save_mix(folder / "accompaniment.mix.wav")
    say(f"{folder / 'accompaniment.wav'}: {describe(take)}")
    say(f"The voice is {vocal}, both together are {folder / 'accompaniment.mix.wav'}.")
    say(
        "Next: your own voice: accompany generate my_voice.wav --mix"
        if args.no_page
        else f"Drop {vocal} onto the page."
    )
    return band


def _open_browser(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        say("No browser could be opened; open the page by hand.")
