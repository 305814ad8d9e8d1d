"""Sessions of takes for audio workstations: a folder of sounds, MIDI, labels and a REAPER project, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from accompany.common.files import check_name, part_beside, remove_part, require_writable, writing_into
from accompany.errors import InputError
from accompany.sound.daw import SessionTrack, Span, beat_labels, write_labels, write_reaper
from accompany.sound.midi import write_midi

if TYPE_CHECKING:
    from accompany.generation.take import Take
    from accompany.sound import Sound
    from accompany.sound.separation import SongSeparator

_RATES = range(16_000, 192_001)


def check_session(folder: Path) -> None:
    """InputError where no session can be written: work that was done in one is never overwritten."""
    check_name(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; move it, or choose another name with --out.")
    require_writable(folder)


def write_session(
    take: Take, folder: Path, sections: Sequence[Span], stems: str | SongSeparator | None, sound: Sound
) -> Path:
    """Write the session of a take; see `Take.save_session`."""
    check_session(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = part_beside(folder)
    try:
        with writing_into(folder):
            partial.mkdir()
            _fill(take, partial, folder.stem, sections, stems, _at_rate_of(take, sound))
            if folder.is_dir():
                folder.rmdir()
            partial.replace(folder)
    finally:
        remove_part(partial)
    return folder


def _at_rate_of(take: Take, sound: Sound) -> Sound:
    """The sound at the rate of the recording, where none is asked for and workstations know it."""
    rate = take.source.sample_rate if take.source else take.sample_rate
    return replace(sound, sample_rate=rate) if sound.sample_rate is None and rate in _RATES else sound


def _fill(
    take: Take, folder: Path, name: str, sections: Sequence[Span], stems: str | SongSeparator | None, sound: Sound
) -> None:
    take.save_vocals(folder / "vocals.wav", sound)
    sounds = {"vocals": folder / "vocals.wav"}
    if stems is None:
        sounds["band"] = folder / "band.wav"
        take.save(sounds["band"], sound)
    else:
        for path in take.save_stems(folder / "band.wav", stems, sound):
            sounds[path.stem.removeprefix("band.")] = path
    plan, seconds = take.plan, take.seconds
    if plan.beats_s:
        write_midi(folder / f"{name}.mid", plan, seconds, sections=sections)
        write_labels(folder / "beats.txt", beat_labels(plan, seconds))
    for kind, spans in (("chords", plan.chords), ("sections", sections)):
        if spans:
            write_labels(folder / f"{kind}.txt", spans)
    tracks = [SessionTrack(kind, path.name, seconds) for kind, path in sounds.items()]
    write_reaper(folder / f"{name}.rpp", plan, seconds, tracks, sections)
