"""Checks of `accompany generate` before the model loads, of options that most generations do without."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.sound.options import Sound


def check_extras(args: argparse.Namespace, sounds: Sequence[Sound]) -> None:
    """Packages of extras that will be needed at the end are looked for at the beginning; adapters are read."""
    if args.lora:
        _check_adapters(args)
    needed = [
        (extra, option, packages)
        for option, wanted, extra, packages in (
            ("--plot", args.plot, "eval", ("matplotlib", "librosa")),
            ("--separator", args.separator, "data", ("demucs",)),
            ("--separate", args.separate, "data", ("demucs",)),
            ("--midi", args.midi, "sound", ("mido",)),
            ("--daw", args.daw, "sound", ("mido",)),
            ("--lufs", args.lufs is not None, "sound", ("pyloudnorm",)),
        )
        if wanted
    ]
    if any(sound.changes_sound or (args.mix and not sound.changes_nothing) for sound in sounds):
        needed.append(("sound", "The sound of these files", ("scipy",)))
    if needed:
        from accompany.common.extras import require

        for extra, option, packages in needed:
            require(extra, *packages, what=option)


def _check_adapters(args: argparse.Namespace) -> None:
    """What is made with adapters cannot be made again from a file that names the model alone."""
    from accompany.models.adapters import check_adapters

    for option, wanted in (("--settings", args.settings), ("--project", args.project)):
        if wanted:
            raise InputError(
                f"{option} does not go with --lora, since it keeps the model without its adapters; "
                f"work them in with accompany export, and give that model."
            )
    check_adapters(args.lora, args.lora_scale)
