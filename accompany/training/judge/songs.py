"""Training data of the judge: log-mels of songs and their stems, and crops of them, as rendered or remixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from accompany import audio
from accompany.common.config import read_json
from accompany.encoders.targets import log_mel
from accompany.errors import InputError
from accompany.evaluation.judge import BEATS_FRAME_RATE, SAMPLE_RATE

CLIP_FRAMES = 500
STEM_FLOOR_DB = -45.0
MIN_SOUNDING_S = 1.0


@dataclass(frozen=True)
class JudgeSong:
    """A song as log-mels at the judge's frame rate, levels kept."""

    mel: Tensor  # [frames, n_mels] float16, of the accompaniment
    stems: Tensor  # [stems, frames, n_mels] float16
    families: Tensor  # [stems], the family of each
    sounding: Tensor  # [stems, frames] bool
    beats: Tensor  # [frames] float, 1 at a beat, 0.5 beside it
    style: str = ""  # as the song says


def load_songs(root: Path, families: tuple[str, ...], n_mels: int) -> list[JudgeSong]:
    """Every song with stems in a folder that `accompany synth` wrote; InputError where there is none."""
    folders = sorted(p.parent for p in root.glob("*/song.json") if (p.parent / "stems").is_dir())
    if not folders:
        raise InputError(f"'{root}' holds no songs with stems; make some with `accompany synth {root} --songs 200`.")
    return [_load_song(folder, families, n_mels) for folder in tqdm(folders, desc="Reading songs", unit="song")]


def _load_song(folder: Path, families: tuple[str, ...], n_mels: int) -> JudgeSong:
    from accompany.data.songs.instruments import INSTRUMENTS

    song = read_json(folder / "song.json")
    mel = _mel(_read(folder / "accompaniment.flac"), n_mels)
    stems, of_family, sounding = [], [], []
    for path in sorted((folder / "stems").glob("*.flac")):
        instrument = INSTRUMENTS.get(path.stem.split("_")[0].replace("-", " ")) or INSTRUMENTS.get(path.stem)
        if instrument is not None:
            stem = _read(path)
            stems.append(functional.pad(_mel(stem, n_mels), (0, 0, 0, len(mel)))[: len(mel)])
            of_family.append(families.index(instrument.family))
            sounding.append(_sounding(stem, len(mel)))
    beats = torch.zeros(len(mel))
    for time_s in song["beats"]:
        at = int(time_s * BEATS_FRAME_RATE)
        for frame, weight in ((at - 1, 0.5), (at + 1, 0.5), (at, 1.0)):
            if 0 <= frame < len(mel):
                beats[frame] = max(float(beats[frame]), weight)
    if not stems:
        raise InputError(f"'{folder}' has no stem of a known instrument; make the songs with `accompany synth`.")
    return JudgeSong(
        mel, torch.stack(stems), torch.tensor(of_family), torch.stack(sounding), beats, song.get("style", "")
    )


def _mel(sound: np.ndarray, n_mels: int) -> Tensor:
    """Log-mel [frames, n_mels] float16; levels are kept, unlike in `judge_mel`, so that stems can be summed."""
    return log_mel(torch.from_numpy(sound)[None], SAMPLE_RATE, BEATS_FRAME_RATE, n_mels=n_mels)[0].half()


def _read(path: Path) -> np.ndarray:
    """A file as mono float32 [T] at the judge's rate."""
    return audio.read_mono(path, SAMPLE_RATE)[0].samples[0]


def _sounding(stem: np.ndarray, n_frames: int) -> Tensor:
    """In which frames [n_frames] a stem [T] is above the floor."""
    hop = int(SAMPLE_RATE / BEATS_FRAME_RATE)
    padded = audio.fit_length(stem, n_frames * hop)
    level_db = 10 * np.log10(np.mean(padded.reshape(n_frames, hop) ** 2, axis=1) + 1e-12)
    return torch.from_numpy(level_db > STEM_FLOOR_DB)


def _tags(song: JudgeSong, window: slice, stems: Tensor, kept: list[int]) -> Tensor:
    """Presence of the `kept` families in a window, when only `stems` [n] play: [len(kept)] float."""
    sounds = song.sounding[stems, window].sum(1) >= MIN_SOUNDING_S * BEATS_FRAME_RATE
    there = set(song.families[stems][sounds].tolist())
    return torch.tensor([float(family in there) for family in kept])


def plain_crop(song: JudgeSong, start: int, kept: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A crop as rendered: mel [frames, n_mels], tags, beats."""
    window = slice(start, start + CLIP_FRAMES)
    mel = song.mel[window].float()
    return mel - mel.amax(), _tags(song, window, torch.arange(len(song.stems)), kept), song.beats[window]


def remixed_crop(
    song: JudgeSong,
    start: int,
    kept: list[int],
    generator: torch.Generator,
    *,
    share: float = 0.75,
    spread_db: float = 4.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of about a `share` of its stems at other levels; powers add up, as those of unrelated sounds do."""
    window = slice(start, start + CLIP_FRAMES)
    plays = torch.rand(len(song.stems), generator=generator) < share
    plays[int(torch.randint(len(plays), (1,), generator=generator))] = True
    stems = plays.nonzero()[:, 0]
    gains = 10 ** (torch.randn(len(stems), 1, 1, generator=generator) * spread_db / 20)
    magnitudes = gains * torch.expm1(song.stems[stems, window].float())
    mel = torch.log1p(magnitudes.square().sum(0).sqrt())
    return mel - mel.amax(), _tags(song, window, stems, kept), song.beats[window]


def worsened(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels [B, frames, n_mels] with a dull top, a floor of noise and rough levels, each to a random degree."""
    n_bands, shape = mel.shape[2], (len(mel), 1, 1)
    cut = 0.4 + 0.6 * torch.rand(shape, generator=generator)
    slope = 12.0 * torch.rand(shape, generator=generator)
    dull = mel - slope * (torch.linspace(0, 1, n_bands) - cut).clamp(min=0)
    floor = -3.0 - 5.0 * torch.rand(shape, generator=generator) + torch.randn(mel.shape, generator=generator) * 0.5
    rough = 0.5 * torch.rand(shape, generator=generator) * torch.randn(mel.shape, generator=generator)
    return torch.logaddexp(dull + rough, floor)


def equalised(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels [B, frames, n_mels] through random smooth filters."""
    return mel + torch.randn(mel.shape[0], 1, mel.shape[2], generator=generator).cumsum(2) * 0.05
