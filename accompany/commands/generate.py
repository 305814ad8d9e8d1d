"""The `accompany generate` command; what can be refused is refused before the model loads, which takes seconds."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands import values
from accompany.commands.console import bar, describe, next_step, print_json, say, summary_of
from accompany.commands.controls import Controls, add_controls, add_sound, check_files, read_controls, read_sound
from accompany.commands.parser import add_json, add_model, command, load
from accompany.generation.settings import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accompany.api import Band
    from accompany.commands.outputs import Output
    from accompany.generation.settings import Settings
    from accompany.generation.take import Take
    from accompany.sound.options import Sound
    from accompany.sound.separation import SongSeparator

_EXAMPLES = """accompany generate vocals.wav -p "warm jazz trio, brushed drums, walking bass" --mix --seed 7
  accompany generate vocals.wav --chords "C G Am F" --bpm 92 --takes 4 --plot --midi
  accompany generate vocals.wav -p "0: solo piano; 12.5: full band; [chorus] loud drums" --project song
  accompany generate vocals.wav --mix --lufs -14 --rate 48000 --bits 24 --start vocal    # into a DAW
  accompany generate song.mp3 --separate --mix -p "solo piano"    # a cover"""


_RARE = ("lora", "plot", "separator", "separate", "midi", "daw", "lufs")
"""Options with checks of their own."""


def add(commands: Any) -> None:
    """Add the command to the command line."""
    help_ = "make the accompaniment of a vocal"
    parser = command(commands, "generate", help_, _EXAMPLES, more="vocals", extra="sound")
    add = parser.add_argument
    add("vocals", nargs="+", type=values.RECORDING, metavar="VOCALS", help="recordings of singing, one or several")
    add("-p", "--prompt", default="", help=CONTROLS["prompt"].help)
    add("-o", "--out", type=values.OUTPUT, metavar="PATH", help="a file for one vocal, a folder for several")
    add("--mix", action="store_true", help="also write <stem>.mix.wav, voice and band together")
    add("--seed", type=values.SEED, default=0, help=f"{CONTROLS['seed'].help} (default 0)")
    add_controls(parser)
    _add_takes(parser)
    add_sound(parser)
    add("--lora", action="append", type=values.ADAPTER, default=[], metavar="DIR", help="an adapter, or several")
    help_ = "how much of the adapters, 0 is none (default 1)"
    add("--lora-scale", type=values.LORA_SCALE, default=1.0, metavar="X", help=help_)
    add_model(parser)
    add_json(parser)


def _add_takes(parser: argparse.ArgumentParser) -> None:
    """How many takes, and what is written beside them."""
    add = parser.add_argument_group("songs, takes, and files beside them").add_argument
    help_ = "make N, the best fit first, the scores shown (default 1)"
    add("--takes", type=values.TAKES, default=1, metavar="N", help=help_)
    help_ = "keep everything in a new folder, for retake, vary, extend and undo"
    add("--project", type=values.NEW_PROJECT, metavar="DIR", help=help_)
    add("--settings", action="store_true", help="also write <stem>.settings.json, which accompany remake takes")
    add("--plot", action="store_true", help="also write <stem>.png: voice and band with the beat grid")
    help_ = "also write <stem>.daw: a REAPER project with voice, band, tempo map and markers, MIDI and Audacity labels"
    add("--daw", action="store_true", help=help_)
    add("--midi", action="store_true", help="also write <stem>.mid: tempo map, chords, beats")
    help_ = "VOCALS are songs: take the voice out of each, as <stem>.vocals.wav, and make it a new band (a cover)"
    add("--separate", action="store_true", help=help_)
    add("--stems", action="store_true", help="also write <stem>.drums.wav, .bass.wav and .other.wav, the band in parts")
    help_ = "a Demucs model, its name or folder, such as htdemucs: for --separate (default tiny, which comes with it), "
    help_ += "and for the --stems of a model that plays the band as one"
    add("--separator", type=values.SEPARATOR, metavar="NAME", help=help_)


def run(args: argparse.Namespace) -> None:
    """Make the accompaniments that the arguments ask for, and their files."""
    from accompany.api import check_takes

    check_takes(args.takes, args.seed)
    controls = read_controls(args)
    _check_vocals(args, controls)
    sounds = [read_sound(args, vocal) for vocal in args.vocals]
    suffix = f".{args.format}" if args.format else ".wav"
    if any(vars(args)[name] for name in _RARE) or not all(sound.changes_nothing for sound in sounds):
        from accompany.commands.beforehand import check_extras

        check_extras(args, sounds)
    if args.project:
        from accompany.commands.projects import check_project

        check_project(args, suffix)
        outputs = []
    else:
        outputs = _plan_outputs(args, sounds, suffix)
    voices = None
    if args.separate or args.separator:
        from accompany.commands.covers import load_voices

        voices = load_voices(args)
    started = time.perf_counter()
    band = load(args)
    load_s = time.perf_counter() - started
    band.check_mute(controls.settings)
    splitter = None
    if args.stems:
        from accompany.commands.covers import load_splitter

        splitter = load_splitter(band, args)
    if args.project:
        from accompany.commands.projects import make_project

        files = [make_project(band, args, lambda vocal: _make_takes(band, vocal, args, controls), voices, sounds[0])]
    else:
        outputs = [voices.beside(output) for output in outputs] if voices else outputs
        files = [_one(band, each, args, controls, sound, splitter) for each, sound in zip(outputs, sounds, strict=True)]
    for entry, song in zip(files, args.vocals if args.separate else (), strict=False):
        entry["song"] = song
    if args.json:
        from accompany.common.processes import peak_memory_mb

        summary = {"files": files, "model": band.name, "device": str(band.device), "load_s": round(load_s, 3)}
        print_json({**summary, "peak_rss_mb": peak_memory_mb()})


def _check_vocals(args: argparse.Namespace, controls: Controls) -> None:
    from accompany.audio import info

    for vocal in args.vocals:
        seconds = info(vocal).seconds
        controls.settings.check_cues(seconds, str(vocal))
        controls.settings.check_within(seconds, str(vocal))
        if controls.analysis is not None:
            controls.analysis.check_vocal(seconds, None if args.separate else vocal)


def _make_takes(band: Band, vocal: Path, args: argparse.Namespace, controls: Controls) -> list[Take]:
    """The takes of one vocal, the best first."""
    settings = _settings_with_model(band, vocal, controls)
    with bar(vocal.name) as progress:
        if args.takes == 1:
            return band.perform([vocal], [settings], progress)
        return band.best_first(band.each_take(vocal, settings, args.takes, progress))


def _settings_with_model(band: Band, vocal: Path, controls: Controls) -> Settings:
    """The settings, with what it takes a model for: the embedding of `like`, and the open parts of a chord file."""
    settings, analysis = controls.settings, controls.analysis
    if "like" in controls.options:
        settings = dataclasses.replace(settings, like=band.embed(controls.options["like"]))
    if analysis is not None and not analysis.is_locked:
        settings = dataclasses.replace(settings, plan=band.analyse(vocal, edited=analysis).plan)
    return settings


def _one(
    band: Band,
    output: Output,
    args: argparse.Namespace,
    controls: Controls,
    sound: Sound,
    splitter: SongSeparator | None,
) -> dict[str, Any]:
    started = time.perf_counter()
    takes = _make_takes(band, output.vocals, args, controls)
    best = takes[0]
    output.accompaniment.parent.mkdir(parents=True, exist_ok=True)
    names = [(output.accompaniment, output.mix), *output.others]
    for take, (accompaniment, mix) in zip(takes, names, strict=True):
        take.save(accompaniment, sound)
        if mix:
            take.save_mix(mix, sound)
    more: dict[str, Any] = {} if best.stems is None else {"mute": list(best.muted)}
    if output.beside or output.stems or output.session:
        from accompany.commands.beside import write_beside

        more |= write_beside(band, best, output, sound, splitter)
    wall_s = time.perf_counter() - started
    if len(takes) > 1:
        from accompany.commands.beside import list_takes

        more["takes"] = list_takes(takes, [accompaniment for accompaniment, _ in names])
    say(f"{' and '.join(str(file) for file in output.files)}: {describe(best)}")
    if len(args.vocals) == 1 and not args.json and (hint := next_step(args, best)):
        say(hint)
    return {**summary_of(output.vocals, output.accompaniment, output.mix, best, wall_s), **more}


def _plan_outputs(args: argparse.Namespace, sounds: Sequence[Sound], suffix: str) -> list[Output]:
    """The files to write. InputError where one cannot be."""
    from accompany.commands.outputs import VOCALS, plan_outputs

    wanted = {VOCALS: args.separate, ".settings.json": args.settings, ".png": args.plot, ".mid": args.midi}
    beside = [ending for ending, is_wanted in wanted.items() if is_wanted]
    wanted_files = {"takes": args.takes, "beside": beside, "stems": args.stems}
    outputs = plan_outputs(args.vocals, args.out, args.mix, suffix=suffix, **wanted_files)
    if args.daw:
        from accompany.commands.beside import with_sessions

        outputs = with_sessions(outputs)
    check_files(outputs, sounds, args.format)
    return outputs
