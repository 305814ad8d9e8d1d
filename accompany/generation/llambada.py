"""LLambada pipeline (Sing-On-Your-Beat, arXiv 2411.01661): from one vocal to its accompaniment.

The voice becomes semantic codes (k-means of MERT states) and codec tokens, the prompt becomes the residual codes of its
CLAP embedding; the semantic stage writes the band's semantic codes from both, the coarse stage its codec tokens from
these and the voice's, and the codec decodes them.

The model was trained on ten seconds. The distance between a token of the voice and one of the band is what says that
they sound together, so every window is ten seconds long, and a shorter vocal is filled up with silence. A longer one is
covered by windows that share half of their length, as open-musiclm slides them after MusicLM (Agostinelli et al., 2023,
arXiv 2301.11325): what was written in the first half is the prefix to go on from.

As in the published inference, the whole voice is brought to zero mean and unit variance for MERT, then clipped to full
scale and rounded to 16 bits, which is loud enough to clip most voices: this is what the codes were learned on.

Shape letters: B items, T samples, F semantic frames, A codec frames, K codebooks, U units of the common time grid.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accompany import audio
from accompany.common.progress import Progress, Steps, one_of, part_of
from accompany.errors import InputError
from accompany.generation.settings import Settings
from accompany.generation.take import Made
from accompany.models.llambada import LlambadaBundle
from accompany.music.plan import Plan
from accompany.sound.level import set_level
from accompany.stages.decoding import Window, windows
from accompany.stages.llambada import WINDOW_S
from accompany.stages.sampling import seed_for, uniform_noise

_log = logging.getLogger(__name__)

_CONTEXT_S = WINDOW_S / 2
_ANALYZED, _COMPOSING, _PLAYED = 0.02, 0.25, 0.9
_QUIETEST = 1e-6
_FULL_SCALE = 32767.0
_WITHOUT = {
    "bpm": "tempo",
    "key": "key",
    "guidance": "weight of the prompt",
    "chords": "chords",
    "taps": "beats",
    "metre": "bars",
    "melody": "melody",
    "reading": "beat and key",
    "follow": "weight of the voice",
    "like": "sound of a recording",
}


@dataclass(frozen=True)
class FrameGrid:
    """Units of time in which semantic and codec frames begin together: `rate` a second, with so many frames in each."""

    rate: int
    semantic: int
    codec: int


@dataclass(frozen=True)
class WindowState:
    """Inputs and outputs of the stages, in whole windows; `semantic` and `tokens` fill up from window to window.

    Attributes:
        for_mert: the voice [1, T16] at MERT's rate.
        for_codec: the voice [1, 1, T] at the codec's rate.
        prompt: codes [1, K, 1].
        semantic: the band's semantic codes [1, 1, F].
        tokens: the band's codec tokens [1, K, A].
        noise: what draws them, [1, F, 1] and [1, A, K].
        n_codes: codec frames that the vocal has, at most A.
    """

    for_mert: Tensor
    for_codec: Tensor
    prompt: Tensor
    semantic: Tensor
    tokens: Tensor
    noise: tuple[Tensor, Tensor]
    n_codes: int


@torch.inference_mode()
def accompany_vocals(
    bundle: LlambadaBundle, vocals: Sequence[np.ndarray], settings: Sequence[Settings], progress: Progress | None = None
) -> list[Made]:
    """Make the accompaniments of vocals, those windows together that go on from equally much.

    Args:
        bundle: the model.
        vocals: each mono float32 [1, T] at the codec's rate, of any length.
        settings: one for each, which differ in their prompts only; options that this model has no condition for are
            named in the log and change nothing.
        progress: called with the share done, 0 to 1.

    Returns:
        For each float32 [C, T] at the codec's rate, peaks below 1, and an empty plan: this model plans nothing.

    Raises:
        InputError: a plan to play.
    """
    if not vocals:
        return []
    if any(each.plan is not None for each in settings):
        raise InputError(f"{bundle.name} plans nothing and cannot play a plan; leave it out.")
    _warn_of_ignored(bundle, settings[0])
    report = progress or (lambda share: None)
    grid = common_grid(bundle)
    counts = [bundle.codec.n_codes(vocal.shape[-1]) for vocal in vocals]
    covers = [cover(grid, n_codes) for n_codes in counts]
    states = [
        prepare(bundle, vocal, each, grid, parts[-1].stop, n_codes)
        for vocal, each, parts, n_codes in zip(vocals, settings, covers, counts, strict=True)
    ]
    per_window = (_PLAYED - _ANALYZED) / sum(map(len, covers))
    for done, part, items in together(covers):
        begin, end = _ANALYZED + per_window * done, _ANALYZED + per_window * (done + len(items))
        between, chosen = begin + _COMPOSING * (end - begin), [states[item] for item in items]
        compose(bundle, grid, part, chosen, settings[0].temperature, part_of(report, begin, between))
        play(bundle, grid, part, chosen, part_of(report, between, end))
    made, decoded = [], part_of(report, _PLAYED, 1.0)
    for item, (state, vocal, each) in enumerate(zip(states, vocals, settings, strict=True)):
        tokens, counted = state.tokens[..., : state.n_codes], one_of(decoded, item, len(vocals))
        sound = bundle.codec.decode(tokens, vocal.shape[-1], progress=counted)[0].float().cpu().numpy()
        made.append(Made(set_level(sound, vocal, bundle.codec.sample_rate, each.level_db), Plan()))
    report(1.0)
    return made


def together(covers: Sequence[Sequence[Window]]) -> list[tuple[int, Window, tuple[int, ...]]]:
    """The windows of several vocals as batches of alike ones, each vocal's in order.

    Returns:
        For each batch: windows done before it, the window in units, and the items.
    """
    made: list[tuple[int, Window, tuple[int, ...]]] = []
    done = 0
    for turn in range(max(map(len, covers))):
        groups: dict[Window, list[int]] = {}
        for item, parts in enumerate(covers):
            if turn < len(parts):
                groups.setdefault(parts[turn], []).append(item)
        for part, items in groups.items():
            made.append((done, part, tuple(items)))
            done += len(items)
    return made


def common_grid(bundle: LlambadaBundle) -> FrameGrid:
    """The finest grid on which both kinds of frames begin together (25 Hz for 50 and 75 Hz).

    Raises:
        InputError: the rates are not whole numbers.
    """
    rates = bundle.semantic_codes.frame_rate, bundle.codec.frame_rate
    if any(rate != round(rate) for rate in rates):
        raise InputError(f"{bundle.path} has {rates[0]:g} semantic and {rates[1]:g} codec frames a second; "
                         "use parts with whole numbers of frames a second.")  # fmt: skip
    common = math.gcd(round(rates[0]), round(rates[1]))
    return FrameGrid(common, round(rates[0]) // common, round(rates[1]) // common)


def cover(grid: FrameGrid, n_codes: int) -> list[Window]:
    """Windows, in units, over so many codec frames; the last may end in silence."""
    window = round(WINDOW_S * grid.rate)
    return windows(max(math.ceil(n_codes / grid.codec), window), window, round(_CONTEXT_S * grid.rate), 0)


def prepare(
    bundle: LlambadaBundle, vocal: np.ndarray, settings: Settings, grid: FrameGrid, n_units: int, n_codes: int
) -> WindowState:
    """The vocal [1, T] as both encoders take it, silence behind it, the prompt's codes, and room for the band's."""
    rate, device = bundle.codec.sample_rate, bundle.device
    mean, deviation = float(vocal.mean(dtype=np.float64)), float(vocal.std(dtype=np.float64))
    normalised = ((vocal - mean) / max(deviation, _QUIETEST)).astype(np.float32)
    for_mert = audio.resample(normalised, rate, bundle.mert.sample_rate)
    n_semantic, n_tokens = n_units * grid.semantic, n_units * grid.codec
    books = bundle.codec.n_codebooks
    return WindowState(
        for_mert=_filled(for_mert, n_units * bundle.mert.sample_rate // grid.rate).to(device),
        for_codec=_filled(vocal, n_units * rate // grid.rate).to(device)[None],
        prompt=bundle.clap_codes.encode(bundle.clap.embed_text([settings.prompt])[:, None]),
        semantic=torch.zeros(1, 1, n_semantic, dtype=torch.long, device=device),
        tokens=torch.zeros(1, books, n_tokens, dtype=torch.long, device=device),
        noise=(
            uniform_noise([seed_for(settings.seed, 0)], n_semantic, 1),
            uniform_noise([seed_for(settings.seed, 1)], n_tokens, books),
        ),
        n_codes=n_codes,
    )


def compose(
    bundle: LlambadaBundle,
    grid: FrameGrid,
    part: Window,
    states: Sequence[WindowState],
    temperature: float | None,
    progress: Steps,
) -> None:
    """Write the semantic codes of a window of each song, from the first that is not there to its end.

    MERT's convolutions pad nothing, as in training: ten seconds of voice have 499 codes, ten of the band 500.
    """
    per_unit = bundle.mert.sample_rate // grid.rate
    samples = slice(part.start * per_unit, part.stop * per_unit)
    codes = [bundle.semantic_codes.encode(bundle.mert.hidden_states(state.for_mert[:, samples])) for state in states]
    start, done, stop = (edge * grid.semantic for edge in (part.start, part.keep_from, part.stop))
    stage = bundle.token_semantic
    own = stage.config.sampling
    made = stage.generate(
        [torch.cat(codes), torch.cat([state.prompt for state in states])],
        stop - start,
        own if temperature is None else dataclasses.replace(own, temperature=temperature),
        [0] * len(states),
        prefix=torch.cat([state.semantic[..., start:done] for state in states]),
        noise=torch.cat([state.noise[0][:, start:stop] for state in states]),
        progress=progress,
    )
    for row, state in enumerate(states):
        state.semantic[..., start:stop] = made[row]


def play(bundle: LlambadaBundle, grid: FrameGrid, part: Window, states: Sequence[WindowState], progress: Steps) -> None:
    """Write the codec tokens of a window of each song, from the first frame that is not there to its end, or that of
    the longest vocal."""
    per_unit = bundle.codec.sample_rate // grid.rate
    sounding = slice(part.start * per_unit, part.stop * per_unit)
    vocal_tokens = [bundle.codec.encode(state.for_codec[..., sounding]).to(bundle.device) for state in states]
    start, done, stop = (edge * grid.codec for edge in (part.start, part.keep_from, part.stop))
    stop = min(stop, max(state.n_codes for state in states))
    composed = slice(part.start * grid.semantic, part.stop * grid.semantic)
    made = bundle.token_coarse.generate(
        [torch.cat([state.semantic[..., composed] for state in states]), torch.cat(vocal_tokens)],
        stop - start,
        seeds=[0] * len(states),
        prefix=torch.cat([state.tokens[..., start:done] for state in states]),
        noise=torch.cat([state.noise[1][:, start:stop] for state in states]),
        progress=progress,
    )
    for row, state in enumerate(states):
        state.tokens[..., start:stop] = made[row]


def _filled(sound: np.ndarray, n_samples: int) -> Tensor:
    """Sound [1, T] clipped to full scale, its 16-bit steps cut off towards zero, with silence up to `n_samples`."""
    rounded = np.trunc(np.clip(sound, -1, 1) * _FULL_SCALE) / _FULL_SCALE
    return torch.from_numpy(audio.fit_length(rounded.astype(np.float32), n_samples))


def _warn_of_ignored(bundle: LlambadaBundle, settings: Settings) -> None:
    for name, meaning in _WITHOUT.items():
        value = getattr(settings, name)
        if value is not None:
            said = f"{name}={value}" if isinstance(value, (str, int, float)) else name
            _log.warning("%s has no condition for the %s, so %s changes nothing.", bundle.name, meaning, said)
