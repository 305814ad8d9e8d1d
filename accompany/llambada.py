"""From one vocal to its accompaniment with LLambada (Sing-On-Your-Beat, arXiv 2411.01661), as a straight line.

The voice becomes semantic codes (k-means of MERT states) and codec tokens, the prompt becomes the residual codes of its
CLAP embedding; the semantic stage writes the band's semantic codes from both, the coarse stage its codec tokens from
these and the voice's, and the codec decodes them.

The model was trained on ten seconds. The distance between a token of the voice and one of the band is what says that
they sound together, so every window is ten seconds long, and a shorter vocal is filled up with silence. A longer one is
covered by windows that share half of their length, as open-musiclm slides them after MusicLM (Agostinelli et al., 2023,
arXiv 2301.11325): what was written in the first half is the prefix to go on from.

As in the published inference, the whole voice is brought to zero mean and unit variance for MERT, then clipped to full
scale and rounded to 16 bits, which is loud enough to clip most voices: this is what the codes were learned on.

Shape letters: B = 1 item, T samples, F semantic frames, A codec frames, K codebooks, U units of the common time grid.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accompany import audio
from accompany.bundles import LlambadaBundle, Progress
from accompany.errors import InputError
from accompany.generation import part_of, seed_for, set_level
from accompany.settings import Settings
from accompany.stages.decoding import Progress as Steps
from accompany.stages.decoding import Window, windows
from accompany.stages.llambada import WINDOW_S
from accompany.stages.plan import Plan
from accompany.stages.sampling import uniform_noise

_log = logging.getLogger(__name__)

_CONTEXT_S = WINDOW_S / 2
_LISTENED, _COMPOSING, _PLAYED = 0.02, 0.25, 0.98
_QUIETEST = 1e-6
_FULL_SCALE = 32767.0
_WITHOUT = {
    "bpm": "tempo",
    "key": "key",
    "guidance": "weight of the prompt",
    "chords": "chords",
    "taps": "beats",
    "follow": "weight of the voice",
    "like": "sound of a recording",
}


@dataclass(frozen=True)
class Grid:
    """Units of time in which semantic and codec frames begin together: `rate` a second, with so many frames in each."""

    rate: int
    semantic: int
    codec: int


@dataclass(frozen=True)
class Song:
    """What the stages read and write, in whole windows; `semantic` and `tokens` fill up from window to window.

    Attributes:
        for_mert: the voice [1, T16] at MERT's rate.
        for_codec: the voice [1, 1, T] at the codec's rate.
        prompt: codes [1, K, 1].
        semantic: the band's semantic codes [1, 1, F].
        tokens: the band's codec tokens [1, K, A].
        noise: what draws them, [1, F, 1] and [1, A, K].
    """

    for_mert: Tensor
    for_codec: Tensor
    prompt: Tensor
    semantic: Tensor
    tokens: Tensor
    noise: tuple[Tensor, Tensor]


@torch.inference_mode()
def accompany_vocal(
    bundle: LlambadaBundle, vocal: np.ndarray, settings: Settings, progress: Progress | None = None
) -> tuple[np.ndarray, Plan]:
    """Make the accompaniment of one vocal.

    Args:
        bundle: the model.
        vocal: mono float32 [1, T] at the codec's rate, of any length.
        settings: the options; those that this model has no condition for are named in the log and change nothing.
        progress: called with the share done, 0 to 1.

    Returns:
        float32 [C, T] at the codec's rate, peaks below 1, and an empty plan: this model plans nothing.
    """
    _note_what_changes_nothing(bundle, settings)
    report = progress or (lambda share: None)
    grid = common_grid(bundle)
    n_samples = vocal.shape[-1]
    n_codes = bundle.codec.n_codes(n_samples)
    n_units = math.ceil(n_codes / grid.codec)
    window = round(WINDOW_S * grid.rate)
    song = prepare(bundle, vocal, settings, grid, max(n_units, window))
    for part in windows(max(n_units, window), window, round(_CONTEXT_S * grid.rate), 0):
        begin, end = (
            _LISTENED + (_PLAYED - _LISTENED) * min(edge / n_units, 1) for edge in (part.keep_from, part.keep_to)
        )
        between = begin + _COMPOSING * (end - begin)
        compose(bundle, grid, part, song, settings.temperature, part_of(report, begin, between))
        play(bundle, grid, part, song, n_codes, part_of(report, between, end))
    sound = bundle.codec.decode(song.tokens[..., :n_codes], n_samples)[0].float().cpu().numpy()
    report(1.0)
    return set_level(sound, vocal, bundle.codec.sample_rate, settings.level_db), Plan()


def common_grid(bundle: LlambadaBundle) -> Grid:
    """The finest grid on which both kinds of frames begin together (25 Hz for 50 and 75 Hz).

    Raises:
        InputError: the rates are not whole numbers.
    """
    rates = bundle.semantic_codes.frame_rate, bundle.codec.frame_rate
    if any(rate != round(rate) for rate in rates):
        raise InputError(f"{bundle.path} has {rates[0]:g} semantic and {rates[1]:g} codec frames a second; "
                         "use parts with whole numbers of frames a second.")  # fmt: skip
    common = math.gcd(round(rates[0]), round(rates[1]))
    return Grid(common, round(rates[0]) // common, round(rates[1]) // common)


def prepare(bundle: LlambadaBundle, vocal: np.ndarray, settings: Settings, grid: Grid, n_units: int) -> Song:
    """The vocal [1, T] as both encoders hear it, silence behind it, the prompt's codes, and room for the band's."""
    rate, device = bundle.codec.sample_rate, bundle.device
    mean, deviation = float(vocal.mean(dtype=np.float64)), float(vocal.std(dtype=np.float64))
    normalised = ((vocal - mean) / max(deviation, _QUIETEST)).astype(np.float32)
    for_mert = audio.resample(normalised, rate, bundle.mert.sample_rate)
    n_semantic, n_codes = n_units * grid.semantic, n_units * grid.codec
    books = bundle.codec.n_codebooks
    return Song(
        for_mert=_filled(for_mert, n_units * bundle.mert.sample_rate // grid.rate).to(device),
        for_codec=_filled(vocal, n_units * rate // grid.rate).to(device)[None],
        prompt=bundle.clap_codes.encode(bundle.clap.embed_text([settings.prompt])[:, None]),
        semantic=torch.zeros(1, 1, n_semantic, dtype=torch.long, device=device),
        tokens=torch.zeros(1, books, n_codes, dtype=torch.long, device=device),
        noise=(
            uniform_noise([seed_for(settings.seed, 0)], n_semantic, 1),
            uniform_noise([seed_for(settings.seed, 1)], n_codes, books),
        ),
    )


def compose(
    bundle: LlambadaBundle, grid: Grid, part: Window, song: Song, temperature: float | None, progress: Steps
) -> None:
    """Write the semantic codes of a window, from the first that is not there to its end.

    MERT's convolutions pad nothing, as in training: ten seconds of voice have 499 codes, ten of the band 500.
    """
    per_unit = bundle.mert.sample_rate // grid.rate
    states = bundle.mert.hidden_states(song.for_mert[:, part.start * per_unit : part.stop * per_unit])
    start, done, stop = (edge * grid.semantic for edge in (part.start, part.keep_from, part.stop))
    stage = bundle.token_semantic
    own = stage.config.sampling
    song.semantic[..., start:stop] = stage.generate(
        [bundle.semantic_codes.encode(states), song.prompt],
        stop - start,
        own if temperature is None else dataclasses.replace(own, temperature=temperature),
        prefix=song.semantic[..., start:done],
        noise=song.noise[0][:, start:stop],
        progress=progress,
    )


def play(bundle: LlambadaBundle, grid: Grid, part: Window, song: Song, n_codes: int, progress: Steps) -> None:
    """Write the codec tokens of a window, from the first frame that is not there to its end, or that of the vocal."""
    per_unit = bundle.codec.sample_rate // grid.rate
    heard = bundle.codec.encode(song.for_codec[..., part.start * per_unit : part.stop * per_unit])
    start, done, stop = (edge * grid.codec for edge in (part.start, part.keep_from, part.stop))
    stop = min(stop, n_codes)
    song.tokens[..., start:stop] = bundle.token_coarse.generate(
        [song.semantic[..., part.start * grid.semantic : part.stop * grid.semantic], heard.to(bundle.device)],
        stop - start,
        prefix=song.tokens[..., start:done],
        noise=song.noise[1][:, start:stop],
        progress=progress,
    )


def _filled(sound: np.ndarray, n_samples: int) -> Tensor:
    """Sound [1, T] clipped to full scale, its 16-bit steps cut off towards zero, with silence up to `n_samples`."""
    rounded = np.trunc(np.clip(sound, -1, 1) * _FULL_SCALE) / _FULL_SCALE
    return torch.from_numpy(audio.fit_length(rounded.astype(np.float32), n_samples))


def _note_what_changes_nothing(bundle: LlambadaBundle, settings: Settings) -> None:
    for name, meaning in _WITHOUT.items():
        value = getattr(settings, name)
        if value is not None:
            said = f"{name}={value}" if isinstance(value, (str, float)) else name
            _log.warning("%s has no condition for the %s, so %s changes nothing.", bundle.name, meaning, said)
