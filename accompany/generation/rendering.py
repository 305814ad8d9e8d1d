"""Takes as files with sound options: rates, loudness and effects, stems, and the voice in full quality."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from accompany import audio
from accompany.common.channels import corrected
from accompany.errors import InputError
from accompany.generation.take import Source, Take
from accompany.sound import files
from accompany.sound.options import Sound
from accompany.sound.render import band_of, finish, mix_of

if TYPE_CHECKING:
    from accompany.sound.separation import SongSeparator

_log = logging.getLogger(__name__)

_GUESS_S = 0.1


def render_band(take: Take, sound: Sound) -> np.ndarray:
    """The accompaniment [C, T'] as `sound` asks, at its rate or the model's."""
    made = _band(take, sound)
    return finish(made, sound.sample_rate or take.sample_rate, sound) if sound.changes_sound else made


def render_mix(take: Take, sound: Sound) -> np.ndarray:
    """Voice and band [C, T'] as `sound` asks, true peaks below its ceiling."""
    rate = sound.sample_rate or take.sample_rate
    return finish(mix_of(voice_at(take, rate), _band(take, sound), sound), rate, sound)


def voice_at(take: Take, rate: int) -> np.ndarray:
    """The voice [C, T'] at a rate: the recording itself, without offsets and with channels that add up."""
    if take.source is None:
        voice = audio.resample(take.vocals, take.sample_rate, rate)
    else:
        recording, _ = corrected(read_source(take.source))
        voice = audio.resample(recording, take.source.sample_rate, rate)
        before = round(take.source.before_s * rate)
        voice = np.pad(voice, [(0, 0), (before, 0)]) if before else voice
    return audio.fit_length(voice, _length_at(take, rate))


def write_stems(take: Take, path: Path, model: str | SongSeparator | None, sound: Sound) -> list[Path]:
    """The work of `Take.save_stems`."""
    from accompany.sound.stems import split_stems

    stems = take.stems or split_stems(take.samples, take.sample_rate, model).sounds
    written = []
    for name, samples in stems.items():
        target = path.with_name(f"{path.stem}.{name}{path.suffix}")
        rate = sound.sample_rate or take.sample_rate
        resampled = audio.fit_length(audio.resample(samples, take.sample_rate, rate), _length_at(take, rate))
        write(take, target, resampled, sound)
        written.append(target)
    return written


def write(take: Take, path: str | os.PathLike[str], samples: np.ndarray, sound: Sound) -> None:
    """Write a sound [C, T] of a take, tagged with what it is."""
    about = f"accompany, seed {take.seed}: {take.settings.prompt}"
    files.write(path, samples, sound.sample_rate or take.sample_rate, sound.bits, sound.start_s, about)


def read_source(source: Source) -> np.ndarray:
    """The work of `Source.read`."""
    if source.samples is not None:
        return source.samples
    assert source.path is not None
    sound = audio.read(source.path)
    # The length of an MP3 file is a guess until it is read.
    missing_s = (source.n_samples - sound.samples.shape[-1]) / source.sample_rate
    if -missing_s > _GUESS_S:
        _log.warning("%s has grown since it was read; what was there is used.", source.path)
    if sound.sample_rate != source.sample_rate or missing_s > _GUESS_S:
        raise InputError(f"{source.path} is another recording now; put back the one that the take was made from.")
    return audio.fit_length(sound.samples, source.n_samples)


def _band(take: Take, sound: Sound) -> np.ndarray:
    rate = sound.sample_rate or take.sample_rate
    return band_of(take.samples, take.sample_rate, _length_at(take, rate), rate, sound)


def _length_at(take: Take, rate: int) -> int:
    """Samples at a rate; from the recording's own length, so that its rounding is the only one."""
    source = take.source
    at_own_rate = audio.resampled_length(take.samples.shape[-1], take.sample_rate, rate)
    if source is None or any(edit.kind == "extend" for edit in take.edits):
        return at_own_rate
    return audio.resampled_length(source.n_samples, source.sample_rate, rate)
