"""Vocal analysis: a network from vocal features to beats, bars, chords and key, decoded to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.errors import InputError
from accompany.music.beat_melody import beats_of_features
from accompany.music.chord_decoding import Chord, ChordDecodingConfig, harmonised
from accompany.music.harmony import N_CHORDS, N_KEYS, key_index
from accompany.music.plan import Plan
from accompany.music.tracking import BeatTrack, BeatTrackingConfig, Candidate, beat_candidates, lay_bars
from accompany.stages.decoding import windows
from accompany.stages.grids import Calibration, GridReading, GridReranker, likeliest, read_grids, same_tempo, softmax
from accompany.stages.harmoniser import Harmoniser, HarmoniserConfig
from accompany.stages.transformer import Transformer, TransformerConfig, init_weights

if TYPE_CHECKING:
    from accompany.stages.batch import Batch

BEATS_PER_FRAME = 2


@dataclass(frozen=True)
class ListenerConfig:
    """Sizes of a `Listener`.

    Attributes:
        melody_dim: columns of the vocal features that are melody features.
        mert_dim: columns after them that are MERT states; 0 for none.
        salience_bins: the first so many melody columns are a circle of pitch classes, which transposition turns.
        frame_rate: frames a second of the vocal features; beats come at twice that.
        conv_layers: residual convolutions (width 5) before the transformer.
        transformer: bidirectional.
        window_frames: a longer vocal is analyzed in windows of this length,
        context_frames: that overlap by this much at each end.
        mert_drop: how often training hides the MERT states of an item.
        mask_drop: how often training silences a stretch of an item.
        transpose: how often training transposes an item (its MERT states are hidden then).
        grid_width: of the reranker that chooses among beat grids (trained after the rest); 0 for none, which takes
            the grid that collects most.
        beats, chords: priors of the decoders.
        calibration: of the probabilities of what they decide.
    """

    melody_dim: int = 54
    mert_dim: int = 256
    salience_bins: int = 36
    frame_rate: float = 25.0
    conv_layers: int = 3
    transformer: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(width=192, depth=4, heads=6, dropout=0.1, causal=False)
    )
    window_frames: int = 500
    context_frames: int = 100
    mert_drop: float = 0.3
    mask_drop: float = 0.2
    transpose: float = 0.7
    grid_width: int = 0
    harmoniser: HarmoniserConfig = field(default_factory=HarmoniserConfig)
    beats: BeatTrackingConfig = field(default_factory=BeatTrackingConfig)
    chords: ChordDecodingConfig = field(default_factory=ChordDecodingConfig)
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        """Raise ValueError for values that do not fit together."""
        if self.transformer.causal:
            raise ValueError("the listener's transformer must have causal=False")
        if self.salience_bins % 12 or self.salience_bins > self.melody_dim:
            raise ValueError(f"salience_bins {self.salience_bins} must be a multiple of 12 within melody_dim")
        if self.window_frames > self.transformer.max_frames:
            raise ValueError(f"window_frames {self.window_frames} is more than max_frames of the transformer")
        if not all(0 <= rate <= 1 for rate in (self.mert_drop, self.mask_drop, self.transpose)):
            raise ValueError("mert_drop, mask_drop and transpose must be from 0 to 1")
        windows(1, self.window_frames, self.context_frames, self.context_frames)


@dataclass(frozen=True)
class ListenerOutput:
    """Frame-wise activations of the network.

    Attributes:
        beat: [B, 2F] logits that a beat falls into a half frame.
        downbeat: [B, 2F] likewise for first beats of bars.
        chord: [B, F, 25] logits of majmin chords.
        key: [B, F, 24] logits of keys.
        hidden: [B, F, D].
        melody: [B, F, 54] the melody features that they come from.
    """

    beat: Tensor
    downbeat: Tensor
    chord: Tensor
    key: Tensor
    hidden: Tensor
    melody: Tensor


class Listener(nn.Module):
    """Convolutions, then a bidirectional transformer, over the features of a vocal."""

    config_class = ListenerConfig

    def __init__(self, config: ListenerConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        width = config.transformer.width
        self.melody = nn.Linear(config.melody_dim, width)
        self.mert_norm = nn.LayerNorm(config.mert_dim) if config.mert_dim else None
        self.mert = nn.Linear(config.mert_dim, width) if config.mert_dim else None
        self.absent = nn.Embedding(2, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(config.conv_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.conv_layers))
        self.beat_head = nn.Linear(width, 2 * BEATS_PER_FRAME)
        self.chord_head = nn.Linear(width, N_CHORDS)
        self.key_head = nn.Linear(width, N_KEYS)
        self.apply(init_weights)
        self.transformer = Transformer(config.transformer)
        self.grids = GridReranker(config.grid_width) if config.grid_width else None
        self.harmoniser = Harmoniser(config.harmoniser) if config.harmoniser.width else None

    def forward(
        self,
        vocal: Tensor,
        vocal_mask: Tensor | None = None,
        mert_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> ListenerOutput:
        """Analyze one window.

        Args:
            vocal: [B, F, Dv], or [B, F, melody_dim] without MERT states.
            vocal_mask: [B, F], False where the vocal is unknown.
            mert_mask: [B, F], False where its MERT states are unknown.
            frame_mask: [B, F], False for padding behind the end.
        """
        x = self._embed(vocal, vocal_mask, mert_mask)
        frames = torch.ones_like(x[..., :1], dtype=torch.bool) if frame_mask is None else frame_mask[..., None]
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = x + functional.gelu(convolution((norm(x) * frames).transpose(1, 2)).transpose(1, 2))
        hidden = self.transformer(x, frame_mask)
        beats = self.beat_head(hidden).unflatten(-1, (BEATS_PER_FRAME, 2)).flatten(1, 2)
        melody = vocal[..., : self.config.melody_dim]
        return ListenerOutput(
            beats[..., 0], beats[..., 1], self.chord_head(hidden), self.key_head(hidden), hidden, melody
        )

    @torch.inference_mode()
    def analyze(self, vocal: Tensor, vocal_mask: Tensor | None = None) -> ListenerOutput:
        """Analyze a vocal [B, F, Dv] of any length, in overlapping windows and bounded memory."""
        config = self.config
        made: list[ListenerOutput] = []
        for part in windows(vocal.shape[1], config.window_frames, config.context_frames, config.context_frames):
            seen = slice(part.start, part.stop)
            output = self(vocal[:, seen], None if vocal_mask is None else vocal_mask[:, seen])
            made.append(_cut(output, part.keep_from - part.start, part.keep_to - part.start))
        return ListenerOutput(*(torch.cat(each, dim=1) for each in zip(*map(_parts, made), strict=True)))

    def plan(
        self,
        output: ListenerOutput,
        n_frames: int | None = None,
        *,
        bpm: float | None = None,
        metre: int | None = None,
        key: str | None = None,
        chords: Sequence[Chord] | None = None,
        item: int = 0,
        grid: BeatTrack | None = None,
        reading: int = 1,
    ) -> Plan:
        """Decide on beats, bars, chords and a key.

        Args:
            output: of `analyze` or `forward`.
            n_frames: F of the item, where the batch is padded.
            bpm, metre: tempo and beats of a bar, if they are known; the beats are then looked for near that tempo.
            key: such as `A:min`, if it is known.
            chords: (start_s, end_s, Harte label) that are known; the rest is decoded.
            item: which of the batch.
            grid: beats and bars, if they are known.
            reading: which of the likeliest readings is decided on, from 1.

        Raises:
            InputError: `key` or a chord label cannot be read, or there is no such reading.
        """
        n_frames, rate = n_frames or output.chord.shape[1], BEATS_PER_FRAME * self.config.frame_rate
        beat, downbeat = (
            values[item, : BEATS_PER_FRAME * n_frames].float().cpu().numpy()
            for values in (output.beat, output.downbeat)
        )

        def decide(beats_s: np.ndarray, key: str | None) -> tuple[BeatTrack, np.ndarray, tuple[Chord, ...], float]:
            track = grid or lay_bars(beats_s, rate, downbeat, bpm, self.config.beats, metre)
            return track, *self.harmony(output, track.beats_s, track.downbeats_s, n_frames, key=key, item=item)

        grids = [GridReading(grid.beats_s)] if grid else self.read_beats(beat, downbeat, bpm)
        track, keys, predicted, confidence = decide(grids[0].beats_s, key)
        readings = likeliest(grids, keys)
        if reading > len(readings):
            raise InputError(f"There is no reading {reading} of this vocal; the last is {len(readings)}.")
        chosen, label = readings[reading - 1][0], readings[reading - 1][1].key
        if reading > 1:
            track, _, predicted, confidence = decide(chosen.beats_s, label)
        tempo = sum(each.probability for each in grids if same_tempo(each, chosen))
        if chords:
            from accompany.music.chord_path import overlay

            predicted = overlay(predicted, chords)
        return Plan(
            beats_s=tuple(map(float, track.beats_s)),
            downbeats_s=tuple(map(float, track.downbeats_s)),
            chords=predicted,
            key=label,
            tempo_bpm=track.tempo_bpm,
            beats_per_bar=track.beats_per_bar,
            tempo_confidence=None if grid or bpm else tempo,
            beat_confidence=None if grid else chosen.probability,
            key_confidence=None if key else float(keys[key_index(label)]),
            chord_confidence=confidence,
            readings=tuple(each for _, each in readings),
            reading=reading,
        )

    def read_beats(self, beat: np.ndarray, downbeat: np.ndarray, bpm: float | None = None) -> list[GridReading]:
        """Readings of the beats, the likeliest first, from logits [2F] of beats and downbeats, perhaps near a tempo."""
        config, rate = self.config, BEATS_PER_FRAME * self.config.frame_rate
        if self.grids is None:
            from accompany.music.single_grid import track_beats

            candidates = [Candidate(track_beats(beat, rate, None, bpm, config.beats).beats_s)]
            scores = np.zeros(1)
        else:
            candidates = beat_candidates(beat, rate, bpm, config.beats)
            scores = self.grids.scores(candidates, beat, downbeat, rate)
        return read_grids(candidates, scores, len(beat) / rate, config.calibration, known_tempo=bpm is not None)

    def harmony(
        self,
        output: ListenerOutput,
        beats_s: np.ndarray,
        downbeats_s: np.ndarray,
        n_frames: int | None = None,
        *,
        key: str | None = None,
        item: int = 0,
    ) -> tuple[np.ndarray, tuple[Chord, ...], float]:
        """Decide on chords along a grid of beats.

        Args:
            output, n_frames, key, item: as in `plan`.
            beats_s, downbeats_s: the grid.

        Returns:
            Probabilities [24] of the keys, (start_s, end_s, label) that cover the item, and the share of it in which
            they are expected to be right.
        """
        config, rate = self.config, self.config.frame_rate
        chord_log, key_log = (
            functional.log_softmax(values[item, :n_frames].float(), dim=-1).cpu().numpy()
            for values in (output.chord, output.key)
        )
        nats, known = key_log.mean(axis=0), None if key is None else np.eye(N_KEYS)[key_index(key)]
        if self.harmoniser is None or len(beats_s) < 2:
            from accompany.music.chord_path import decode_chords

            tonic = int((nats if known is None else known).argmax())
            chords, share = decode_chords(chord_log, rate, beats_s, downbeats_s, tonic, config.chords)
        else:
            melody = output.melody[item, :n_frames].float().cpu().numpy()
            beats = beats_of_features(melody, rate, beats_s, downbeats_s)
            nats = nats + self.harmoniser.key_log_probabilities(beats)
            chances = self.harmoniser.chord_probabilities(beats, softmax(nats) if known is None else known)
            chords, share = harmonised(chances, chord_log, rate, beats_s, config.chords)
        calibration = config.calibration
        keys = softmax(calibration.key_slope * nats) if known is None else known
        return keys, chords, calibration.chord_share(share)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of a training batch (`accompany.stages.losses`)."""
        from accompany.stages.losses import listener_losses

        return listener_losses(self, batch, generator)

    def _embed(self, vocal: Tensor, vocal_mask: Tensor | None, mert_mask: Tensor | None) -> Tensor:
        known = torch.ones_like(vocal[..., 0], dtype=torch.bool) if vocal_mask is None else vocal_mask
        melody, mert = vocal[..., : self.config.melody_dim], vocal[..., self.config.melody_dim :]
        x = torch.where(known[..., None], self.melody(melody).float(), self.absent.weight[0])
        if self.mert is None or self.mert_norm is None:
            return x
        if not mert.shape[-1]:
            return x + self.absent.weight[1]
        known = known if mert_mask is None else known & mert_mask
        return x + torch.where(known[..., None], self.mert(self.mert_norm(mert)).float(), self.absent.weight[1])


def _parts(output: ListenerOutput) -> tuple[Tensor, ...]:
    return output.beat, output.downbeat, output.chord, output.key, output.hidden, output.melody


def _cut(output: ListenerOutput, start: int, stop: int) -> ListenerOutput:
    fine = slice(BEATS_PER_FRAME * start, BEATS_PER_FRAME * stop)
    return ListenerOutput(
        output.beat[:, fine],
        output.downbeat[:, fine],
        output.chord[:, start:stop],
        output.key[:, start:stop],
        output.hidden[:, start:stop],
        output.melody[:, start:stop],
    )
