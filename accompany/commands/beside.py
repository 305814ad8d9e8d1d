"""Files beside an accompaniment: settings, plot, MIDI, stems and a session for an audio workstation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands.console import say
from accompany.commands.outputs import Output, base_of

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.generation.take import Take
    from accompany.sound.options import Sound
    from accompany.sound.separation import SongSeparator


def write_beside(
    band: Band, take: Take, output: Output, sound: Sound, splitter: SongSeparator | None
) -> dict[str, Any]:
    """Write settings, plot, MIDI and stems where they are wanted; what was written, for the JSON."""
    written: dict[str, Any] = {}
    for ending, path in output.beside:
        if ending == ".settings.json":
            from accompany.commands.settings_file import TakeRecipe

            TakeRecipe.of(take, band, output.vocals, band.source, sound).save(path)
            written["settings"] = str(path)
        elif ending == ".mid":
            take.save_midi(path)
            written["midi"] = str(path)
        elif ending == ".png":
            from accompany.evaluation.plots import plot_take

            plot_take(path, take)
            written["plot"] = str(path)
    if output.stems:
        written["stems"] = [str(path) for path in take.save_stems(output.stems, splitter, sound)]
    if output.session:
        from accompany.generation.session import save_session

        sections = band.analyse(output.vocals, plan=take.plan).sections if take.plan.beats_s else ()
        save_session(take, output.session, sections=sections, stems=splitter, sound=sound)
        written["daw"] = str(output.session)
    return written


def list_takes(takes: Sequence[Take], files: Sequence[Path]) -> list[dict[str, Any]]:
    """Say how several takes score, and return it for the JSON."""
    for take, file in zip(takes, files, strict=True):
        say(f"{file}: seed {take.seed}, {describe_scores(take)}")
    return [
        {"accompaniment": str(file), "seed": take.seed, "reading": take.plan.reading, "scores": dict(take.scores)}
        for take, file in zip(takes, files, strict=True)
    ]


def with_sessions(outputs: Sequence[Output]) -> list[Output]:
    """The outputs, each with a session `<stem>.daw`. InputError where one cannot be written."""
    from accompany.generation.session import check_session

    named = [
        replace(each, session=each.accompaniment.with_name(f"{base_of(each.accompaniment)}.daw")) for each in outputs
    ]
    for output in named:
        assert output.session is not None
        check_session(output.session)
    return named


def describe_scores(take: Take) -> str:
    """The scores of a take in one line, and which reading of the vocal it plays."""
    reading = take.reading
    said = [f"reading {take.plan.reading} ({reading.name})"] if reading and take.settings.reading else []
    return ", ".join([*said, *(f"{name} {value:.2f}" for name, value in take.scores.items())])
