"""Sessions of takes for audio workstations: a folder of sounds, MIDI, labels and a REAPER project, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from accompany.common.files import check_name, part_beside, remove_part, require_writable
from accompany.common.folders import writing_into
from accompany.errors import InputError
from accompany.sound.daw import SessionTrack, Span, beat_labels, write_labels, write_reaper
from accompany.sound.midi import write_midi
from accompany.sound.options import Sound

if TYPE_CHECKING:
    from accompany.generation.take import Take
    from accompany.sound.separation import SongSeparator

_RATES = range(16_000, 192_001)


def check_session(folder: Path) -> None:
    """InputError where no session can be written: work that was done in one is never overwritten."""
    check_name(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; move it, or choose another name with --out.")
    require_writable(folder)


def save_session(
    take: Take,
    folder: str | os.PathLike[str],
    *,
    sections: Sequence[Span] = (),
    stems: str | SongSeparator | None = None,
    sound: Sound | None = None,
) -> Path:
    """Write a folder for an audio workstation; all of its files begin with the vocal.

    It holds `<name>.rpp` (a REAPER project: tracks, tempo map, chords as markers, sections as regions),
    `vocals.wav` and `band.wav` or its stems, `<name>.mid` (tempo map, metre, key, chords, beats, sections), and
    label tracks of Audacity: `chords.txt`, `beats.txt` and `sections.txt`.

    Args:
        folder: a new or empty one, whose stem is the name.
        sections: (start_s, end_s, name), such as those of `Band.analyse`.
        stems: a Demucs model that splits the band of a take without stems, as in `Take.save_stems`; None keeps it
            whole.
        sound: depth and effects of the sounds, and their rate where it is not to be that of the recording.

    Raises:
        InputError: there is something in the folder, it cannot be written, or as `Take.save_stems`.
    """
    folder, sound = Path(folder), sound or Sound()
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
    if take.stems is None and stems is None:
        sounds["band"] = folder / "band.wav"
        take.save(sounds["band"], sound)
    else:
        for path in take.save_stems(folder / "band.wav", stems, sound):
            name_of_stem = path.stem.removeprefix("band.")
            if name_of_stem in take.muted:
                path.unlink()
            else:
                sounds[name_of_stem] = path
    plan, seconds = take.plan, take.seconds
    if plan.beats_s:
        write_midi(folder / f"{name}.mid", plan, seconds, sections=sections)
        write_labels(folder / "beats.txt", beat_labels(plan, seconds))
    for kind, spans in (("chords", plan.chords), ("sections", sections)):
        if spans:
            write_labels(folder / f"{kind}.txt", spans)
    tracks = [SessionTrack(kind, path.name, seconds) for kind, path in sounds.items()]
    write_reaper(folder / f"{name}.rpp", plan, seconds, tracks, sections)
