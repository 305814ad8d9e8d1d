"""Edits of a take: regeneration of a region, a share of its beats, or time before and after it.

The stages know codes on either side of a gap (they were trained on gaps with their left, right or both sides known), so
what is composed anew joins both ends. Codec tokens are written from left to right: they go on from what is before, and
the sound fades into what comes after. Shape letters: T samples, F semantic frames, A codec frames, K streams.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time

import numpy as np
import torch
from torch import Tensor

from accompany.audio import fit_length
from accompany.common.progress import Progress, Steps, one_of, part_of
from accompany.errors import InputError
from accompany.generation.edit import Edit
from accompany.generation.pipeline import (
    VocalAnalysis,
    acoustic_sampling,
    as_array,
    build_conditions,
    extract_features,
    sampling_for,
)
from accompany.generation.settings import Settings
from accompany.generation.splices import FADE_OUT_S, between, edited, faded
from accompany.generation.stems import (
    Sounds,
    add_up,
    decode_tracks,
    find_tracks,
    n_tracks,
    rows_of,
    seeds_of,
    set_levels,
    stems_of,
    tags_of,
)
from accompany.generation.take import Draft, Made, Take
from accompany.models.pretrained import Bundle
from accompany.music.bars import longer_plan
from accompany.music.plan import Plan, beat_positions
from accompany.sound.level import PEAK
from accompany.stages.sampling import seed_for

SHORTEST_S = 0.25
_LONGEST_EXTENSION_S = 600.0
_LEAD_IN_S = 3.0
_COMPOSED, _PLAYED = 0.4, 0.75


@dataclasses.dataclass(frozen=True)
class _Rewritten:
    """A draft of which parts were written anew, its tracks with the frames where each plays, [F] bool, and a counter of
    what is decoded."""

    draft: Draft
    tracks: dict[str, np.ndarray]
    decoded: Steps


def edited_take(bundle: Bundle, take: Take, edit: Edit, progress: Progress | None = None) -> Take:
    """The take with an edit done to it; InputError as the function of its kind, or there is no such kind."""
    started = time.perf_counter()
    before = Made(take.samples, take.plan, take.draft, take.stems)
    made, voice, lead_s = _apply(bundle, take.vocals, before, edit, progress)
    source = take.source and dataclasses.replace(take.source, before_s=take.source.before_s + lead_s)
    return dataclasses.replace(
        take,
        samples=made.samples,
        plan=made.plan,
        stems=made.stems,
        draft=made.draft,
        edits=(*take.edits, edit),
        vocals=voice,
        source=source,
        wall_s=time.perf_counter() - started,
        scores={},
    )


def _apply(
    bundle: Bundle, voice: np.ndarray, old: Made, edit: Edit, progress: Progress | None = None
) -> tuple[Made, np.ndarray, float]:
    """Do what an edit says: the accompaniment, the voice [1, T'], and the seconds put before it.

    Raises:
        InputError: as the function of that kind, or there is no such kind.
    """
    numbers, settings = edit.arguments, edit.settings
    try:
        if edit.kind == "retake":
            made = retake(bundle, voice, old, settings, numbers["from_s"], numbers["to_s"], progress)
        elif edit.kind == "vary":
            made = vary(bundle, voice, old, settings, numbers["strength"], progress)
        elif edit.kind == "extend":
            return extend(bundle, voice, old, settings, numbers["before_s"], numbers["after_s"], progress)
        else:
            raise InputError(f"There is no edit '{edit.kind}'; known are retake, vary and extend.")
    except KeyError as error:
        raise InputError(f"The edit '{edit.kind}' lacks {error}; give what accompany wrote.") from error
    return made, voice, 0.0


@torch.inference_mode()
def retake(
    bundle: Bundle,
    voice: np.ndarray,
    old: Made,
    settings: Settings,
    from_s: float,
    to_s: float,
    progress: Progress | None = None,
) -> Made:
    """Make the region from `from_s` to `to_s` of an accompaniment again; every sample outside stays as it is.

    Args:
        bundle: the model.
        voice: [1, T].
        old: with a draft.
        settings: of the new region; its plan is played.
        from_s, to_s: in seconds.
        progress: called with the share done, 0 to 1.

    Raises:
        InputError: the region is too short or outside of the song, or there is no draft.
    """
    draft, rate = draft_of(bundle, old), bundle.codec.sample_rate
    n_samples = old.samples.shape[-1]
    first, last = region_samples(from_s, to_s, n_samples, rate)
    analysis = VocalAnalysis(extract_features(bundle, voice), old.plan)
    opened = np.zeros(draft.codes.shape[-1], bool)
    frame_rate = bundle.melody.frame_rate
    opened[int(first / rate * frame_rate) : int(np.ceil(last / rate * frame_rate - 1e-6))] = True
    new = _rewrite(bundle, analysis, settings, draft, opened, opened, progress)
    part = _decode_part(bundle, new, first, last, n_samples, new.decoded)

    def joined(before: np.ndarray, sound: np.ndarray) -> np.ndarray:
        made = before.copy()
        made[:, first:last] = faded(before[:, first:last], sound, rate, first > 0, last < n_samples)
        return made

    played, stems = edited(old, joined, part)
    samples = old.samples.copy()
    samples[:, first:last] = np.clip(played[:, first:last], -PEAK, PEAK)
    return Made(samples, old.plan, new.draft, stems)


@torch.inference_mode()
def vary(
    bundle: Bundle,
    voice: np.ndarray,
    old: Made,
    settings: Settings,
    strength: float,
    progress: Progress | None = None,
) -> Made:
    """Compose a share `strength` (0 to 1) of the beats anew, drawn by the seed, and play everything anew.

    With the same seed a larger strength changes the beats of a smaller one and more. At 0 the notes stay, and only how
    they are played differs.

    Raises:
        InputError: a strength out of range, or there is no draft.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"The strength {strength:g} must be from 0 to 1.")
    draft = draft_of(bundle, old)
    analysis = VocalAnalysis(extract_features(bundle, voice), old.plan)
    opened = _drawn_beats(old.plan, draft.codes.shape[-1], bundle.melody.frame_rate, strength, settings.seed)
    new = _rewrite(bundle, analysis, settings, draft, opened, np.ones_like(opened), progress)
    sounds = decode_tracks(bundle, _tokens_of(bundle, new), new.tracks, old.samples.shape[-1], 0.0, new.decoded)
    samples, gain = set_levels(sounds, voice, bundle.codec.sample_rate, settings.level_db)
    return Made(samples, old.plan, dataclasses.replace(new.draft, gain=gain), stems_of(sounds))


@torch.inference_mode()
def extend(
    bundle: Bundle,
    voice: np.ndarray,
    old: Made,
    settings: Settings,
    before_s: float,
    after_s: float,
    progress: Progress | None = None,
) -> tuple[Made, np.ndarray, float]:
    """Play on before and after a song, while the voice rests.

    Lengths are rounded to frames of the semantic grid. The chords before are those of the first bars, those after are
    those of the last. Of what was there only the outermost 60 ms are touched, where the sound goes over.

    Returns:
        The longer accompaniment, the voice [1, T'] with its rests, and the seconds put before it.

    Raises:
        InputError: nothing to add, more than ten minutes of it, or there is no draft.
    """
    for value in (before_s, after_s):
        if not 0 <= value <= _LONGEST_EXTENSION_S:
            raise InputError(f"An extension of {value:g} s must be from 0 to {_LONGEST_EXTENSION_S:g} s.")
    draft, rate, frame_rate = draft_of(bundle, old), bundle.codec.sample_rate, bundle.melody.frame_rate
    lead = round(before_s * frame_rate)
    before, after = round(lead / frame_rate * rate), round(after_s * rate)
    if before + after == 0:
        raise InputError("There is nothing to add; give seconds before or after.")
    n_old = old.samples.shape[-1]
    longer = np.pad(voice, [(0, 0), (before, after)])
    plan = longer_plan(old.plan, n_old / rate, before / rate, after / rate)
    features = extract_features(bundle, longer)
    n_frames = features.shape[1]
    n_kept = min(draft.codes.shape[-1], n_frames - lead)
    opened = np.ones(n_frames, bool)
    opened[lead : lead + n_kept] = False
    ratio = bundle.acoustic.config.ratio
    spaced = Draft(
        _placed(draft.codes, lead, n_frames, n_kept),
        _placed(draft.tokens, ratio * lead, ratio * n_frames, ratio * n_kept),
        draft.gain,
    )
    new = _rewrite(bundle, VocalAnalysis(features, plan), settings.playing(plan), spaced, opened, opened, progress)
    n_new, fade = longer.shape[-1], min(round(FADE_OUT_S * rate), n_old // 2)
    n_parts = bool(before) + bool(after)
    lead_in = _decode_part(bundle, new, 0, before + fade, n_new, one_of(new.decoded, 0, n_parts)) if before else None
    tail = before + n_old - fade
    last = one_of(new.decoded, n_parts - 1, n_parts)
    lead_out = _decode_part(bundle, new, tail, n_new, n_new, last) if after else None
    samples, stems = edited(old, functools.partial(between, fade=fade), lead_in, lead_out)
    return Made(samples, plan, new.draft, stems), longer, before / rate


def draft_of(bundle: Bundle, made: Made) -> Draft:
    """The draft of an accompaniment; InputError where there is none, or one of another model."""
    draft = made.draft
    if draft is None:
        raise InputError("This take cannot be edited: it was made by a model without a draft, or loaded without it.")
    n_codes, n_tokens = len(bundle.semantic.config.conditions.code_sizes), bundle.acoustic.config.codebooks
    if (len(draft.codes), len(draft.tokens)) != (n_codes, n_tokens * n_tracks(bundle)):
        raise InputError(f"This take was not made by {bundle.name}, so it cannot go on with it; make it anew.")
    return draft


def region_samples(from_s: float, to_s: float, n_samples: int, sample_rate: int) -> tuple[int, int]:
    """A region in seconds as samples inside a song. InputError when too little of it is."""
    seconds = n_samples / sample_rate
    rises = 0 <= from_s < to_s < math.inf  # not-a-number does not
    first, last = (min(round(edge * sample_rate), n_samples) for edge in (from_s, to_s)) if rises else (0, 0)
    if last - first < SHORTEST_S * sample_rate:
        raise InputError(
            f"The region {from_s:g} to {to_s:g} s must cover at least {SHORTEST_S:g} s of the {seconds:.2f} s of "
            "the song."
        )
    return first, last


def _placed(codes: np.ndarray, start: int, total: int, count: int) -> np.ndarray:
    """Codes [K, n] put at `start` among `total` frames, -1 around them."""
    placed = np.full((len(codes), total), -1, codes.dtype)
    placed[:, start : start + count] = codes[:, :count]
    return placed


def _drawn_beats(plan: Plan, n_frames: int, frame_rate: float, strength: float, seed: int) -> np.ndarray:
    """[F] bool: the frames of a share of the beats (of seconds, where there are no beats)."""
    centres_s = (np.arange(n_frames) + 0.5) / frame_rate
    cells = np.floor(beat_positions(plan, centres_s) if plan.beats_s else centres_s).astype(int)
    cells -= cells[0]
    draws = np.random.default_rng(seed).random(cells[-1] + 1)
    return np.asarray(draws < strength)[cells]


def _rewrite(
    bundle: Bundle,
    analysis: VocalAnalysis,
    settings: Settings,
    draft: Draft,
    compose: np.ndarray,
    play: np.ndarray,
    progress: Progress | None,
) -> _Rewritten:
    """A draft with the codes of the frames `compose` [F] and the tokens of the frames `play` [F] written anew."""
    report = progress or (lambda share: None)
    conditions = build_conditions(bundle, analysis, settings)
    tracks = find_tracks(bundle, conditions, settings)
    semantic, acoustic, ratio = bundle.semantic, bundle.acoustic, bundle.acoustic.config.ratio
    codes, tokens = (torch.from_numpy(each).long().to(bundle.device)[None] for each in (draft.codes, draft.tokens))
    tokens = tokens[0].unflatten(0, (-1, acoustic.config.codebooks))
    spans, composed = _spans(compose, semantic.config.context_frames), part_of(report, 0.0, _COMPOSED)
    for index, (start, stop) in enumerate(spans):
        part = slice(start, stop)
        known = codes[..., part].masked_fill(_mask(compose[part], codes), -1)
        written = semantic.generate_long(
            conditions.window(start, stop).with_known(known),
            sampling_for(semantic.config.sampling, settings),
            [seed_for(settings.seed, 0)],
            progress=one_of(composed, index, len(spans)),
        )
        codes[..., part] = written
    spans, played = _spans(play, acoustic.config.context_frames), part_of(report, _COMPOSED, _PLAYED)
    for index, (start, stop) in enumerate(spans):
        part, fine = slice(start, stop), slice(ratio * start, ratio * stop)
        known = tokens[rows_of(tracks), :, fine].masked_fill(_mask(play[part].repeat(ratio), tokens), -1)
        tokens[rows_of(tracks), :, fine] = acoustic.generate_long(
            conditions.window(start, stop),
            codes[..., part],
            acoustic_sampling(bundle, settings),
            seeds_of(tracks, settings.seed),
            stems=tags_of(tracks),
            known=known,
            progress=one_of(played, index, len(spans)),
        )
    made = Draft(as_array(codes[0]), as_array(tokens.flatten(0, 1)), draft.gain)
    return _Rewritten(made, tracks, part_of(report, _PLAYED, 1.0))


def _spans(opened: np.ndarray, context: int) -> list[tuple[int, int]]:
    """Stretches that hold the open frames [F] with `context` frames around them; near ones are one."""
    spans: list[tuple[int, int]] = []
    for frame in np.flatnonzero(opened).tolist():
        start, stop = max(frame - context, 0), min(frame + 1 + context, len(opened))
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


def _mask(opened: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(opened)).to(like.device)


def _tokens_of(bundle: Bundle, new: _Rewritten) -> Tensor:
    """The tokens of the tracks that play, [S, Kc, A]."""
    tokens = torch.from_numpy(new.draft.tokens).long()
    return tokens.unflatten(0, (-1, bundle.acoustic.config.codebooks))[rows_of(new.tracks)]


def _decode_part(bundle: Bundle, new: _Rewritten, first: int, last: int, n_samples: int, report: Steps) -> Sounds:
    """The tracks of a stretch, [C, last - first] each, decoded with what is around it, peaks of the band below 1."""
    codec = bundle.codec
    per_code = codec.sample_rate / codec.frame_rate
    lead = round(_LEAD_IN_S * codec.frame_rate)
    begin = max(int(first / per_code) - lead, 0)
    end = min(int(np.ceil(last / per_code)) + lead, new.draft.tokens.shape[-1])
    offset = round(begin * per_code)
    length = min(round(end * per_code), n_samples) - offset
    tokens = _tokens_of(bundle, new)[..., begin:end]
    sounds = decode_tracks(bundle, tokens, new.tracks, length, offset / codec.sample_rate, report)
    sounds = {name: fit_length(each[:, first - offset :], last - first) for name, each in sounds.items()}
    peak = float(np.abs(add_up(sounds)).max(initial=0.0)) * new.draft.gain
    gain = new.draft.gain * min(1.0, PEAK / max(peak, PEAK))
    return {name: each * np.float32(gain) for name, each in sounds.items()}
