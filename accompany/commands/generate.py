"""`accompany generate`: everything that can be refused is refused before the model loads, which takes seconds."""

from __future__ import annotations

import argparse
import codecs
import dataclasses
import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands.console import bar, print_json, say
from accompany.commands.values import shortened
from accompany.common.files import check_name, require_writable
from accompany.common.processes import peak_memory_mb
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.commands.outputs import Output
    from accompany.generation.analysis import Analysis
    from accompany.generation.take import Take
    from accompany.sound import Sound
    from accompany.sound.separation import VocalSeparator

Load = Callable[[argparse.Namespace], Any]

VOCALS = ".vocals.wav"
"""Ending of the voice of a song."""

_SHOWN = 60
_CONTROLS = ("seed", "bpm", "key", "temperature", "guidance", "follow", "like_strength")


def generate(args: argparse.Namespace, load: Load) -> None:
    """Make the accompaniments that the arguments ask for, and their files."""
    from accompany.api import check_takes
    from accompany.audio import info
    from accompany.commands.outputs import plan_outputs
    from accompany.generation.settings import Settings

    check_takes(args.takes, args.seed)
    options, analysis = read_controls(args)
    asked = Settings(args.prompt, taps=options.get("taps"), melody=options.get("melody"))
    for vocal in args.vocals:
        seconds = info(vocal).seconds
        asked.check_cues(seconds, str(vocal))
        asked.check_taps(seconds, str(vocal))
        asked.check_melody(seconds, str(vocal))
    sounds = [read_sound(args, vocal) for vocal in args.vocals]
    suffix = f".{args.format}" if args.format else ".wav"
    _check_adapters(args)
    if args.project:
        _check_project(args, suffix)
    else:
        outputs = plan_outputs(args.vocals, args.out, args.mix, suffix=suffix, takes=args.takes, beside=_beside(args))
        check_files(outputs, sounds, args.format)
        if args.stems:
            _check_stems(outputs)
    _check_extras(args)
    voices = _Voices(args)
    if args.stems:
        from accompany.sound.stems import load_splitter

        args.stems = load_splitter(args.stems)
    started = time.perf_counter()
    band = load(args)
    load_s = time.perf_counter() - started
    if args.project:
        with voices.in_scratch() as vocal:
            files = [_into_project(band, vocal, args, options, analysis, sounds[0], suffix)]
    else:
        pairs = zip(map(voices.beside, outputs), sounds, strict=True)
        files = [_one(band, output, args, options, analysis, sound) for output, sound in pairs]
    for told, song in zip(files, args.vocals if args.separate else (), strict=False):
        told["song"] = song
    if args.json:
        summary = {"files": files, "model": band.name, "device": str(band.device), "load_s": round(load_s, 3)}
        print_json({**summary, "peak_rss_mb": peak_memory_mb()})


def read_controls(args: argparse.Namespace) -> tuple[dict[str, Any], Analysis | None]:
    """The options of `Band.generate` in the arguments, checked; and the chord file, if one is given."""
    from accompany.generation.settings import Settings

    options = {name: getattr(args, name) for name in _CONTROLS if getattr(args, name, None) is not None}
    if getattr(args, "level", None) is not None:
        options["level_db"] = args.level
    analysis = None
    if getattr(args, "chords", None) is not None:
        if Path(args.chords).suffix.lower() == ".json":
            from accompany.generation.analysis import Analysis

            analysis = Analysis.load(os.path.expanduser(args.chords))
        else:
            options["chords"] = args.chords
    if getattr(args, "taps", None) is not None:
        options["taps"] = read_taps(args.taps)
    if getattr(args, "melody", None) is not None:
        options["melody"] = _read_melody(args)
    elif getattr(args, "melody_track", None) is not None:
        raise InputError("--melody-track names a track of the file of --melody; give both, or neither.")
    like = (1.0,) if getattr(args, "like", None) else None
    Settings(getattr(args, "prompt", None) or "", **options, like=like, plan=analysis.plan if analysis else None)
    if like:
        from accompany.audio import info

        options["like"] = os.path.expanduser(args.like)
        info(options["like"])
    return options, analysis


def _read_melody(args: argparse.Namespace) -> tuple[tuple[float, float, float], ...]:
    from accompany.sound.midi_melody import read_melody

    notes = read_melody(os.path.expanduser(args.melody), args.melody_track)
    return tuple((note.start_s, note.end_s, note.pitch) for note in notes)


def read_taps(text: str) -> tuple[float, ...]:
    """Times in an argument, or in the file that it names. InputError for what is no number."""
    shown = shortened(text)
    try:
        path = Path(os.path.expanduser(text))
        is_file = path.is_file()
    except (OSError, ValueError):  # a list too long for a name, or with characters that no name has
        is_file = False
    try:
        words = (_decoded(path.read_bytes()) if is_file else text).replace(",", " ").split()
        return tuple(map(float, words))
    except OSError as error:
        raise InputError(f"Cannot read {shown} ({error.strerror}); check its permissions.") from error
    except ValueError as error:
        raise InputError(f"The taps '{shown}' must be times in seconds, or a text file of them.") from error


def _decoded(content: bytes) -> str:
    """The text of a file in UTF-8 or UTF-16, as editors and shells write it, with a byte order mark or without."""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return content.decode("utf-16")
    if b"\0" in content[:2]:
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    return content.decode("utf-8-sig")


def read_sound(args: argparse.Namespace, vocal: str) -> Sound:
    """How files are written, checked; the start may be that of the vocal."""
    from accompany.sound import Sound

    given = {
        "loudness_lufs": args.lufs,
        "peak_dbtp": args.peak,
        "balance_db": args.balance,
        "eq": args.eq,
        "compression": args.compress,
        "reverb": args.reverb,
        "sample_rate": args.rate,
        "bits": args.bits,
        "start_s": _start(args.start, vocal),
    }
    return Sound(**{name: value for name, value in given.items() if value is not None})


def describe(take: Take) -> str:
    """A take in a few words."""
    tempo = f", {take.plan.tempo_bpm:.0f} beats a minute" if take.plan.tempo_bpm else ""
    key = f" in {take.plan.key}" if take.plan.key else ""
    return f"{take.seconds:.1f} s{key}{tempo}, made in {take.wall_s:.1f} s"


def describe_scores(take: Take) -> str:
    """The scores of a take in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in take.scores.items())


def _start(text: str | None, vocal: str) -> float | None:
    from accompany.sound.files import start_of

    if text is None:
        return None
    if text == "vocal":
        start_s = start_of(vocal)
        if start_s is None:
            raise InputError(f"{vocal} has no time stamp; give --start in seconds.")
        return start_s
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"--start {text} must be seconds, or 'vocal' for the time stamp of the vocal.") from error


def _beside(args: argparse.Namespace) -> list[str]:
    wanted = {VOCALS: args.separate, ".settings.json": args.settings, ".png": args.plot, ".mid": args.midi}
    return [ending for ending, is_wanted in wanted.items() if is_wanted]


def check_files(outputs: Sequence[Output], sounds: Sequence[Sound], kind: str | None) -> None:
    """InputError where a file cannot be of the format and depth that are asked for."""
    from accompany.sound.files import check

    for output, sound in zip(outputs, sounds, strict=True):
        suffix = output.accompaniment.suffix.lower()
        if kind is not None and suffix != f".{kind}":
            raise InputError(f"--format {kind} and the name {output.accompaniment} do not agree; leave one out.")
        if not sound.changes_nothing:
            check(output.accompaniment, sound.sample_rate or 24000, sound.bits, sound.start_s)


def _check_stems(outputs: Sequence[Output]) -> None:
    from accompany.sound.stems import STEMS

    for output in outputs:
        for name in STEMS:
            check_name(output.accompaniment.with_name(f"{output.accompaniment.stem}.{name}.wav"))


def _check_adapters(args: argparse.Namespace) -> None:
    """What is made with adapters cannot be made again from a file that names the model alone."""
    for option, wanted in (("--settings", args.settings), ("--project", args.project)):
        if args.lora and wanted:
            raise InputError(
                f"{option} does not go with --lora, since it keeps the model without its adapters; "
                f"work them in with accompany export, and give that model."
            )
    if args.lora:
        from accompany.models.adapters import check_scale

        check_scale(args.lora_scale)


def _check_project(args: argparse.Namespace, suffix: str) -> None:
    taken = {"--out": args.out, "--settings": args.settings, "--plot": args.plot, "--midi": args.midi,
             "--stems": args.stems}  # fmt: skip
    for option, value in taken.items():
        if value:
            raise InputError(f"{option} does not go with --project, which keeps everything; leave one out.")
    if len(args.vocals) > 1:
        raise InputError("A project holds one vocal; make one for each.")
    args.project = os.path.expanduser(args.project)  # shells leave it after `--project=`
    check_name(Path(args.project))
    check_name(Path(args.project) / f"{Path(args.vocals[0]).stem}.accompaniment{suffix}")
    if Path(args.project).exists() and (not Path(args.project).is_dir() or any(Path(args.project).iterdir())):
        raise InputError(f"{args.project} is there already; name a new folder for the project.")
    require_writable(args.project)


def _check_extras(args: argparse.Namespace) -> None:
    """Packages of other extras that will be needed at the end are looked for at the beginning."""
    demucs = args.stems or args.separate
    for wanted, names, extra in ((args.plot, ("matplotlib", "librosa"), "eval"), (demucs, ("demucs",), "data")):
        for name in names if wanted else ():
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                line = f'pip install "accompany[{extra}]"'
                raise InputError(f"This option needs the package {name}, which is not installed: {line}") from error


class _Voices:
    """The vocals to play to: the files given, or with --separate the voices of these songs."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Load the separator, where one is wanted. InputError for one that is not, or is not there."""
        self._args = args
        self._separator: VocalSeparator | None = None
        if args.separate:
            from accompany.api import choose_device
            from accompany.sound.separation import BUNDLED, VocalSeparator

            self._separator = VocalSeparator(args.separator or BUNDLED, choose_device(args.device))
        elif args.separator:
            raise InputError("--separator says how --separate takes the voice out of a song; give both, or neither.")

    def beside(self, output: Output) -> Output:
        """The output with its vocal, which is written now where it has to be separated."""
        if self._separator is None:
            return output
        target = dict(output.beside)[VOCALS]
        target.parent.mkdir(parents=True, exist_ok=True)
        return dataclasses.replace(output, vocals=self._separated(output.vocals, target))

    @contextmanager
    def in_scratch(self) -> Iterator[Path]:
        """The one vocal of a project, which keeps a copy of it."""
        vocal = Path(self._args.vocals[0])
        if self._separator is None:
            yield vocal
            return
        with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
            yield self._separated(vocal, Path(folder) / f"{vocal.stem}.wav")

    def _separated(self, song: Path, target: Path) -> Path:
        from accompany.sound.covers import separate_vocal

        assert self._separator is not None
        with bar(f"{song.name}: voice") as progress:
            return separate_vocal(song, target, self._separator, progress)


def _make(
    band: Band, vocal: Path, args: argparse.Namespace, options: dict[str, Any], analysis: Analysis | None
) -> list[Take]:
    if analysis is not None:
        plan = analysis.plan if analysis.is_locked else band.analyse(vocal, edited=analysis).plan
        options = {**options, "plan": plan}
    with bar(vocal.name) as progress:
        if args.takes > 1:
            return band.takes(vocal, args.prompt, args.takes, **options, progress=progress)
        return [band.generate(vocal, args.prompt, **options, progress=progress)]


def _one(
    band: Band,
    output: Output,
    args: argparse.Namespace,
    options: dict[str, Any],
    analysis: Analysis | None,
    sound: Sound,
) -> dict[str, Any]:
    started = time.perf_counter()
    takes = _make(band, output.vocals, args, options, analysis)
    best = takes[0]
    output.accompaniment.parent.mkdir(parents=True, exist_ok=True)
    names = [(output.accompaniment, output.mix), *output.others]
    for take, (accompaniment, mix) in zip(takes, names, strict=True):
        take.save(accompaniment, sound)
        if mix:
            take.save_mix(mix, sound)
    more = _write_beside(band, best, output, args, sound)
    wall_s = time.perf_counter() - started
    if len(takes) > 1:
        for take, (accompaniment, _) in zip(takes, names, strict=True):
            say(f"{accompaniment}: seed {take.seed}, {describe_scores(take)}")
        more["takes"] = [
            {"accompaniment": str(accompaniment), "seed": take.seed, "scores": dict(take.scores)}
            for take, (accompaniment, _) in zip(takes, names, strict=True)
        ]
    say(f"{' and '.join(str(file) for file in output.files)}: {describe(best)}")
    return {**_told(output.vocals, output.accompaniment, output.mix, best, wall_s), **more}


def _told(vocals: Path, accompaniment: Path, mix: Path | None, take: Take, wall_s: float) -> dict[str, Any]:
    return {
        "vocals": str(vocals),
        "accompaniment": str(accompaniment),
        "mix": str(mix) if mix else None,
        "seconds": round(take.seconds, 3),
        "wall_s": round(wall_s, 3),
        "rtf": round(wall_s / take.seconds, 4),
        "seed": take.seed,
    }


def _write_beside(band: Band, take: Take, output: Output, args: argparse.Namespace, sound: Sound) -> dict[str, Any]:
    """Write settings, picture, MIDI and stems where they are wanted; what was written, for the JSON."""
    from accompany.commands.remake import Recipe

    told: dict[str, Any] = {}
    for ending, path in output.beside:
        if ending == ".settings.json":
            Recipe.of(take, band, output.vocals, band.source, sound).save(path)
            told["settings"] = str(path)
        elif ending == VOCALS:
            continue  # is there already
        elif ending == ".mid":
            take.save_midi(path)
            told["midi"] = str(path)
        else:
            from accompany.evaluation.plots import plot_take

            plot_take(path, take)
            told["plot"] = str(path)
    if args.stems:
        stems = take.save_stems(output.accompaniment, args.stems, sound)
        told["stems"] = [str(path) for path in stems]
    return told


def _into_project(
    band: Band,
    vocal: Path,
    args: argparse.Namespace,
    options: dict[str, Any],
    analysis: Analysis | None,
    sound: Sound,
    suffix: str,
) -> dict[str, Any]:
    from accompany.generation.project import Project

    started = time.perf_counter()
    takes = _make(band, vocal, args, options, analysis)
    project = Project.create(args.project, vocal, band.source, band.precision)
    try:
        names = [project.add(take) for take in takes]
    except BaseException:
        if not project.entries():
            shutil.rmtree(project.folder, ignore_errors=True)
        raise
    project.choose(names[0])
    project.write_with(sound, suffix, args.mix)
    files = project.write_files()
    for name, take in zip(names, takes, strict=True):
        say(f"take {name}: seed {take.seed}{', ' + describe_scores(take) if take.scores else ''}")
    say(f"{project.folder}: {describe(takes[0])}")
    wall_s = time.perf_counter() - started
    told = _told(vocal, files[0], files[1] if args.mix else None, takes[0], wall_s)
    scores = [{"name": name, "seed": take.seed, "scores": dict(take.scores)}
              for name, take in zip(names, takes, strict=True)]  # fmt: skip
    return {**told, "project": str(project.folder), "takes": scores}
