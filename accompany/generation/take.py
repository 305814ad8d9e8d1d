"""A take: an accompaniment with its vocal, settings, plan and files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from accompany import audio
from accompany.generation.settings import Settings
from accompany.sound.options import Sound

if TYPE_CHECKING:
    from accompany.generation.edit import Edit
    from accompany.music.plan import Plan, Reading
    from accompany.sound.separation import SongSeparator


@dataclass(frozen=True)
class Draft:
    """Codes and tokens of one song, from which parts of it can be regenerated.

    Attributes:
        codes: semantic codes int32 [K, F].
        tokens: codec tokens int32 [Kc, A]; of a model with stems [3 * Kc, A], those of drums, bass and other one after
            the other, -1 for what was never played.
        gain: what the decoded sound was multiplied with.
    """

    codes: np.ndarray
    tokens: np.ndarray
    gain: float


@dataclass(frozen=True)
class Made:
    """An accompaniment: `samples` float32 [C, T] with peaks below 1, the plan that was played, its draft and stems."""

    samples: np.ndarray
    plan: Plan
    draft: Draft | None = None
    stems: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Source:
    """Source of a take's voice, in full quality.

    Attributes:
        n_samples, sample_rate: of the recording, per channel and in Hz.
        path: the recording, where it is a file.
        samples: the recording [C, T], where it is not.
        before_s: seconds of rest that an extension put before it.
    """

    n_samples: int
    sample_rate: int
    path: Path | None = None
    samples: np.ndarray | None = field(default=None, repr=False, compare=False)
    before_s: float = 0.0

    def read(self) -> np.ndarray:
        """The recording float32 [C, T] at its own rate, as far as it went then. InputError when the file is gone, or
        another by now."""
        if self.samples is not None:
            return self.samples
        from accompany.generation.recordings import read_again

        assert self.path is not None
        return read_again(self.path, self.n_samples, self.sample_rate)


@dataclass(frozen=True)
class Take:
    """One accompaniment, sample-aligned with its vocal.

    Attributes:
        samples: the band, float32 [C, T], peaks below 1.
        sample_rate: Hz, of `samples` and `vocals`.
        vocals: the voice, mono float32 [1, T].
        plan: the beats, bars, chords and key that the band played; empty for a model that plans nothing.
        settings: what it was asked for.
        wall_s: seconds that it took; of takes made together, a share by length.
        source: the recording of the voice.
        draft: what the stages wrote, from which parts can be made again; None for a model of another kind.
        edits: what was done to it since, first things first.
        scores: how well it fits, by name (`accompany.generation.scores`), where it was measured.
        stems: drums, bass and other, float32 [C, T] each, which sum to the samples, silent where muted; None of a model
            that plays the band as one.
    """

    samples: np.ndarray
    sample_rate: int
    vocals: np.ndarray
    plan: Plan
    settings: Settings
    wall_s: float = field(compare=False)
    source: Source | None = field(default=None, compare=False, repr=False)
    draft: Draft | None = field(default=None, compare=False, repr=False)
    edits: tuple[Edit, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict, compare=False)
    stems: Mapping[str, np.ndarray] | None = field(default=None, compare=False, repr=False)

    @property
    def seed(self) -> int:
        """The seed that makes this take again."""
        return self.settings.seed

    @property
    def reading(self) -> Reading | None:
        """The reading of the vocal that the band plays; None where the plan was given, or there is none."""
        number = self.plan.reading
        return self.plan.readings[number - 1] if 0 < number <= len(self.plan.readings) else None

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate

    @property
    def muted(self) -> tuple[str, ...]:
        """The stems that are silent throughout."""
        return tuple(name for name, sound in (self.stems or {}).items() if not sound.any())

    @property
    def mix(self) -> np.ndarray:
        """Voice and band together, float32 [C, T], peaks below 1."""
        from accompany.sound.level import mix

        return mix(self.vocals, self.samples)

    def save(self, path: str | os.PathLike[str], sound: Sound | None = None) -> None:
        """Write the accompaniment; the suffix chooses the format.

        Args:
            path: .wav, .flac, .aiff, .mp3 or .ogg.
            sound: rate, depth, loudness and effects; None writes what the band played, as it is.

        Raises:
            InputError: the suffix is none of these, cannot be as `sound` asks, or the folder is not writable.
        """
        if sound is None or sound.changes_nothing:
            audio.write(path, self.samples, self.sample_rate)
        else:
            self._write(path, self.rendered(sound), sound)

    def save_mix(self, path: str | os.PathLike[str], sound: Sound | None = None) -> None:
        """Write voice and band to `path`, as `save` does; with a `sound` the voice is the recording in full quality."""
        if sound is None or sound.changes_nothing:
            audio.write(path, self.mix, self.sample_rate)
        else:
            self._write(path, self.rendered_mix(sound), sound)

    def save_vocals(self, path: str | os.PathLike[str], sound: Sound | None = None) -> None:
        """Write the voice to `path` as in the mix: in full quality, at the rate of `sound` or its own; as `save`."""
        sound = sound or Sound()
        self._write(path, self._voice(sound.sample_rate or self.sample_rate), sound)

    def save_stems(
        self, path: str | os.PathLike[str], model: str | SongSeparator | None = None, sound: Sound | None = None
    ) -> list[Path]:
        """Write drums, bass and other, which sum to the band, beside `path` as `<stem>.drums.wav` and so on.

        A take without stems is separated by `model`, a Demucs model. The rate and depth are those of `sound`.

        Raises:
            InputError: as `save`, no such Demucs model, or neither stems nor a model.
        """
        from accompany.sound.stems import split_stems

        path, sound, written = Path(path), sound or Sound(), []
        rate = sound.sample_rate or self.sample_rate
        for name, samples in (self.stems or split_stems(self.samples, self.sample_rate, model).sounds).items():
            written.append(path.with_name(f"{path.stem}.{name}{path.suffix}"))
            resampled = audio.fit_length(audio.resample(samples, self.sample_rate, rate), self._length_at(rate))
            self._write(written[-1], resampled, sound)
        return written

    def save_midi(self, path: str | os.PathLike[str]) -> None:
        """Write tempo map, chords and beats to `path` as MIDI. InputError for a model that plans nothing."""
        from accompany.sound.midi import write_midi

        write_midi(path, self.plan, self.seconds)

    def rendered(self, sound: Sound) -> np.ndarray:
        """The accompaniment, float32 [C, T'], as `sound` asks, at its rate or the model's. InputError without scipy."""
        from accompany.sound.render import finish

        made = self._band(sound)
        return finish(made, sound.sample_rate or self.sample_rate, sound) if sound.changes_sound else made

    def rendered_mix(self, sound: Sound) -> np.ndarray:
        """Voice and band, float32 [C, T'], as `sound` asks, true peaks below its ceiling. InputError without scipy."""
        from accompany.sound.render import finish, mix_of

        rate = sound.sample_rate or self.sample_rate
        return finish(mix_of(self._voice(rate), self._band(sound), sound), rate, sound)

    def _band(self, sound: Sound) -> np.ndarray:
        from accompany.sound.render import band_of

        rate = sound.sample_rate or self.sample_rate
        return band_of(self.samples, self.sample_rate, self._length_at(rate), rate, sound)

    def _voice(self, rate: int) -> np.ndarray:
        """The voice [C, T'] at a rate: the recording itself, without offsets and with channels that add up."""
        if self.source is None:
            voice = audio.resample(self.vocals, self.sample_rate, rate)
        else:
            from accompany.generation.arrays import corrected

            recording, _ = corrected(self.source.read())
            voice = audio.resample(recording, self.source.sample_rate, rate)
            before = round(self.source.before_s * rate)
            voice = np.pad(voice, [(0, 0), (before, 0)]) if before else voice
        return audio.fit_length(voice, self._length_at(rate))

    def _length_at(self, rate: int) -> int:
        """Samples at a rate; from the recording's own length, so that its rounding is the only one."""
        source = self.source
        at_own_rate = audio.resampled_length(self.samples.shape[-1], self.sample_rate, rate)
        if source is None or any(edit.kind == "extend" for edit in self.edits):
            return at_own_rate
        return audio.resampled_length(source.n_samples, source.sample_rate, rate)

    def _write(self, path: str | os.PathLike[str], samples: np.ndarray, sound: Sound) -> None:
        from accompany.sound.files import write

        about = f"accompany, seed {self.seed}: {self.settings.prompt}"
        write(path, samples, sound.sample_rate or self.sample_rate, sound.bits, sound.start_s, about)
