"""The listener: steady beats, bars, chords and a key out of likelihoods; training; windows; what users know."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch

from accompany.errors import InputError
from accompany.music.chord_path import decode_chords, overlay
from accompany.music.harmony import NO_CHORD, key_index, majmin
from accompany.music.single_grid import track_beats
from accompany.music.tracking import BeatTrackingConfig
from accompany.stages.batch import Batch
from accompany.stages.listener import Listener, ListenerConfig, ListenerOutput
from accompany.stages.losses import augment, pulse_loss, transpose_vocal
from accompany.stages.transformer import TransformerConfig
from accompany.training.stages.analysis_scores import f_measure, score_analysis

RATE = 50.0
CONFIG = ListenerConfig(
    melody_dim=15,
    mert_dim=5,
    salience_bins=12,
    conv_layers=1,
    transformer=TransformerConfig(width=32, depth=1, heads=2, max_frames=512, causal=False),
    window_frames=200,
    context_frames=50,
)


def grid(bpm: float, length_s: float, first_s: float = 0.31) -> np.ndarray:
    return np.arange(first_s, length_s, 60.0 / bpm)


def logits_of(
    times_s: np.ndarray, length_s: float, seed: int = 0, missed: float = 0.3, noise: float = 1.0
) -> np.ndarray:
    """Logits [n] at 50 Hz of a listener that misses some events and is never sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-3.2, noise, int(length_s * RATE))
    for time_s in times_s[rng.random(len(times_s)) > missed]:
        frame = int(time_s * RATE)
        for offset, rise in ((-1, 2.5), (0, 4.0), (1, 2.5)):
            if 0 <= frame + offset < len(logits):
                logits[frame + offset] += rise
    return logits


@pytest.mark.parametrize("bpm", [57.0, 78.3, 104.0, 123.4, 151.0, 178.0])
@pytest.mark.parametrize("metre", [3, 4])
def test_the_grid_is_found_to_some_milliseconds(bpm: float, metre: int) -> None:
    beats_s = grid(bpm, 20.0)
    track = track_beats(logits_of(beats_s, 20.0), RATE, logits_of(beats_s[1::metre], 20.0, seed=1, missed=0.2))
    assert track.tempo_bpm == pytest.approx(bpm, rel=0.01)
    assert f_measure(track.beats_s, beats_s, 0.03) > 0.97
    assert track.beats_per_bar == metre
    assert f_measure(track.downbeats_s, beats_s[1::metre]) > 0.9


def test_the_grid_goes_on_through_silence() -> None:
    beats_s = grid(97.0, 40.0)
    sung = beats_s[(beats_s < 12) | (beats_s > 26)]
    track = track_beats(logits_of(sung, 40.0), RATE)
    assert f_measure(track.beats_s, beats_s, 0.05) > 0.97
    assert track.beats_s[0] < 60 / 97.0
    assert track.beats_s[-1] > 40 - 60 / 97.0


def test_a_drifting_tempo_is_followed() -> None:
    beats_s = np.cumsum(60.0 / np.linspace(90, 104, 90)) - 0.3
    length_s = float(beats_s[-1])
    track = track_beats(logits_of(beats_s, length_s, missed=0.2), RATE)
    assert f_measure(track.beats_s, beats_s) > 0.95


def test_a_hint_settles_an_ambiguous_tempo() -> None:
    beats_s = grid(140.0, 15.0)
    logits = logits_of(beats_s[::2], 15.0)
    assert track_beats(logits, RATE).tempo_bpm == pytest.approx(70.0, rel=0.02)
    hinted = track_beats(logits, RATE, bpm=140.0)
    assert hinted.tempo_bpm == pytest.approx(140.0, rel=0.02)
    assert f_measure(hinted.beats_s, beats_s) > 0.95


def test_the_prior_decides_without_evidence() -> None:
    for centre_bpm in (80.0, 130.0):
        config = BeatTrackingConfig(centre_bpm=centre_bpm)
        track = track_beats(np.full(500, config.prior_logit), RATE, config=config)
        assert track.tempo_bpm == pytest.approx(centre_bpm, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 10, 30, 60])
def test_the_shortest_clips_give_a_grid(n: int) -> None:
    track = track_beats(np.full(n, -3.0), RATE, np.full(n, -4.0))
    assert len(track.beats_s) >= 1
    assert ((track.beats_s >= 0) & (track.beats_s < n / RATE)).all()
    assert np.isfinite(track.tempo_bpm)


def test_ten_minutes_take_seconds() -> None:
    beats_s = grid(104.0, 600.0)
    logits = logits_of(beats_s, 600.0)
    start = time.process_time()
    track = track_beats(logits, RATE, logits_of(beats_s[::4], 600.0, seed=1))
    assert time.process_time() - start < 10.0
    assert f_measure(track.beats_s, beats_s) > 0.99


def test_beats_of_twenty_minutes_are_found_in_bounded_memory() -> None:
    import tracemalloc

    logits = logits_of(np.arange(0.3, 1200, 0.5), 1200.0)
    tracemalloc.start()
    track = track_beats(logits, RATE)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert len(track.beats_s) == pytest.approx(2400, abs=2)
    assert peak_mb < 43


def posteriors(labels: list[str], frames_each: int, strength: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.0, (len(labels) * frames_each, 25))
    for index, label in enumerate(labels):
        logits[index * frames_each : (index + 1) * frames_each, majmin(label)] += strength
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


SONG = ["C:maj", "A:min", "F:maj", "G:maj"]


def test_chords_change_on_beats_and_outweigh_noise() -> None:
    log_posteriors = posteriors(SONG, 50, 1.5)
    beats_s = np.arange(0.0, 8.0, 0.5)
    chords, confidence = decode_chords(log_posteriors, 25.0, beats_s, beats_s[::4], key_index("C:maj"))
    assert [label for *_, label in chords] == SONG
    np.testing.assert_allclose([start for start, *_ in chords], [0, 2, 4, 6])
    assert chords[-1][1] == 8.0
    assert 0.1 < confidence < 0.6
    assert log_posteriors.argmax(axis=1).tolist().count(0) < 60, "frame by frame the chords are not clear"


def test_the_key_settles_a_doubtful_chord() -> None:
    log_posteriors = posteriors(["C:maj", "E:min", "C:maj"], 50, 3.0)
    doubtful = log_posteriors.copy()
    doubtful[50:100, [majmin("E:min"), majmin("E:maj")]] = -1.0
    beats_s = np.arange(0.0, 6.0, 0.5)
    for key, label in (("C:maj", "E:min"), ("A:maj", "E:maj")):
        chords, _ = decode_chords(doubtful, 25.0, beats_s, beats_s[::4], key_index(key))
        assert chords[1][2] == label


def test_a_band_plays_on_where_nothing_is_sung() -> None:
    log_posteriors = posteriors(["C:maj", "N", "C:maj"], 25, 1.0)
    beats_s = np.arange(0.0, 3.0, 0.5)
    chords, _ = decode_chords(log_posteriors, 25.0, beats_s, beats_s[::4], 0)
    assert NO_CHORD not in [majmin(label) for *_, label in chords]


def test_given_chords_replace_predicted_ones() -> None:
    chords = ((0.0, 2.0, "C:maj"), (2.0, 6.0, "F:maj"))
    assert overlay(chords, [(1.0, 3.0, "A:min"), (4.0, 5.0, "D:min")]) == (
        (0.0, 1.0, "C:maj"),
        (1.0, 3.0, "A:min"),
        (3.0, 4.0, "F:maj"),
        (4.0, 5.0, "D:min"),
        (5.0, 6.0, "F:maj"),
    )
    assert overlay(chords, [(0.0, 6.0, "N")]) == ((0.0, 6.0, "N"),)


def output_of(bpm: float = 100.0, length_s: float = 9.6) -> ListenerOutput:
    beats_s = grid(bpm, length_s, 0.0)
    beat, downbeat = logits_of(beats_s, length_s), logits_of(beats_s[::4], length_s, seed=1)
    chord = posteriors(SONG, int(length_s * 25 / 4), 2.0)
    key = np.zeros((len(chord), 24))
    key[:, 0] = 1.0
    tensors = [torch.tensor(each, dtype=torch.float32)[None] for each in (beat, downbeat, chord, key)]
    return ListenerOutput(*tensors, hidden=torch.zeros(1, len(chord), 32), melody=torch.zeros(1, len(chord), 54))


@pytest.fixture(scope="module")
def listener() -> Listener:
    torch.manual_seed(0)
    return Listener(CONFIG).eval()


def test_a_plan_holds_the_predictions(listener: Listener) -> None:
    plan = listener.plan(output_of())
    assert plan.tempo_bpm == pytest.approx(100.0, rel=0.01)
    assert [label for *_, label in plan.chords] == SONG
    assert plan.key == "C:maj"
    assert plan.beats_per_bar == 4
    assert set(plan.downbeats_s) <= set(plan.beats_s)
    assert plan.beat_confidence is not None and plan.tempo_confidence is not None
    assert 0 < plan.beat_confidence <= plan.tempo_confidence <= 1
    assert plan.key_confidence is not None and plan.chord_confidence is not None


def test_the_key_is_what_the_frames_agree_on(listener: Listener) -> None:
    output = output_of()
    key = np.random.default_rng(0).normal(0, 1, output.key.shape)
    key[..., 9] += 0.4
    output = dataclasses.replace(output, key=torch.tensor(key, dtype=torch.float32))
    keys, _, _ = listener.harmony(output, grid(100.0, 9.6, 0.0), grid(25.0, 9.6, 0.0))
    assert keys.argmax() == 9 and keys.sum() == pytest.approx(1.0)
    assert listener.plan(output).key == "A:maj"


def test_what_users_know_goes_into_the_plan(listener: Listener) -> None:
    output = output_of()
    assert listener.plan(output, bpm=50.0).tempo_bpm == pytest.approx(50.0, rel=0.03)
    assert listener.plan(output, key="F# minor").key == "F#:min"
    plan = listener.plan(output, chords=[(0.0, 3.0, "D:min7")])
    assert plan.chords[0] == (0.0, 3.0, "D:min7")
    assert plan.chords[-1][2] == "G:maj"
    short = listener.plan(output, 60)
    assert short.chords[-1][1] == pytest.approx(2.4)
    assert max(short.beats_s) < 2.4
    with pytest.raises(InputError, match="is no key"):
        listener.plan(output, key="Q")


def test_the_heads_have_their_shapes(listener: Listener) -> None:
    output = listener(torch.randn(2, 40, 20))
    assert output.beat.shape == output.downbeat.shape == (2, 80)
    assert output.chord.shape == (2, 40, 25)
    assert output.key.shape == (2, 40, 24)
    assert output.hidden.shape == (2, 40, 32)
    assert listener(torch.randn(2, 40, 15)).chord.shape == (2, 40, 25)


@torch.inference_mode()
def test_padding_and_batches_change_nothing(listener: Listener) -> None:
    long, short = torch.randn(1, 60, 20), torch.randn(1, 35, 20)
    vocal = torch.cat([long, torch.nn.functional.pad(short, (0, 0, 0, 25))])
    both = listener(vocal, frame_mask=torch.arange(60) < torch.tensor([[60], [35]]))
    torch.testing.assert_close(both.chord[:1], listener(long).chord, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both.chord[1:, :35], listener(short).chord, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both.beat[1:, :70], listener(short).beat, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_long_vocal_is_analysed_in_windows(listener: Listener) -> None:
    vocal = torch.randn(1, 530, 20)
    whole = listener.analyze(vocal)
    assert whole.beat.shape == (1, 1060)
    assert whole.chord.shape == (1, 530, 25)
    torch.testing.assert_close(whole.chord[:, :150], listener(vocal[:, :200]).chord[:, :150])
    torch.testing.assert_close(whole.chord[:, 150:250], listener(vocal[:, 100:300]).chord[:, 50:150])
    torch.testing.assert_close(listener.analyze(vocal[:, :180]).beat, listener(vocal[:, :180]).beat)


def batch(n: int = 12, n_frames: int = 100) -> Batch:
    """Vocals whose salience tells the chord and whose last column tells the beat."""
    rng = np.random.default_rng(0)
    vocal = rng.normal(0, 0.1, (n, n_frames, 20))
    chords = np.repeat(rng.integers(0, 12, (n, n_frames // 25)), 25, axis=1)
    np.put_along_axis(vocal, chords[..., None], 1.0, axis=-1)
    beats = np.zeros((n, 2 * n_frames), int)
    for item in range(n):
        beats[item, 3 + item :: 25] = 1
        vocal[item, np.flatnonzero(beats[item]) // 2, 14] += 2.0
    downbeats = np.zeros_like(beats)
    downbeats[:, 3::100] = beats[:, 3::100]
    return Batch(
        vocal=torch.tensor(vocal).half(),
        beat_target=torch.tensor(beats),
        downbeat_target=torch.tensor(downbeats),
        chord_target=torch.tensor(chords),
        key_target=torch.tensor(chords[:, 0]),
    )


def test_training_learns_beats_and_chords_in_all_keys() -> None:
    torch.manual_seed(0)
    model = Listener(CONFIG).train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        with torch.autocast("cpu", torch.bfloat16):
            parts = model.loss(batch(), generator)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert set(parts) == {"loss", "beat", "downbeat", "chord", "key"}
    scores = score_analysis(model, batch())
    assert model.training, "listening leaves the mode as it was"
    assert scores["beat_f"] > 0.8
    assert scores["chord_accuracy"] > 0.8
    assert set(scores) <= {"beat_f", "downbeat_f", "chord_accuracy", "key_accuracy"}
    turned = dataclasses.replace(
        batch(), vocal=transpose_vocal(batch().float().need("vocal"), torch.full((12,), 3), 12)
    )
    turned = dataclasses.replace(turned, chord_target=(batch().need("chord_target") + 3) % 12)
    assert score_analysis(model, turned)["chord_accuracy"] > 0.8


def test_augmentation_turns_features_and_targets_alike() -> None:
    torch.manual_seed(0)
    model = Listener(dataclasses.replace(CONFIG, mask_drop=0.0))
    before = batch().float()
    after, mert_mask = augment(model.config, before, torch.Generator().manual_seed(1))
    peaks = after.need("vocal")[..., :12].argmax(dim=-1)
    assert torch.equal(peaks, after.need("chord_target"))
    shifts = (after.need("key_target") - before.need("key_target")) % 12
    assert len(shifts.unique()) > 3
    assert not mert_mask[shifts != 0].any(), "MERT states cannot be transposed, so they are hidden"
    assert torch.equal(after.need("vocal")[..., 12:], before.need("vocal")[..., 12:])
    assert not torch.equal(augment(CONFIG, before, torch.Generator().manual_seed(1))[0].need("vocal"), after.vocal)


def test_transposition_by_an_octave_is_none() -> None:
    vocal = torch.randn(2, 5, 20)
    torch.testing.assert_close(transpose_vocal(vocal, torch.tensor([12, -12]), 12), vocal)
    up = transpose_vocal(vocal, torch.tensor([1, 0]), 12)
    torch.testing.assert_close(up[0, :, 1:12], vocal[0, :, :11])
    torch.testing.assert_close(transpose_vocal(vocal, torch.tensor([1, 1]), 36 // 3)[..., 12:], vocal[..., 12:])


def test_pulse_losses_widen_labels_and_skip_unknown_ones() -> None:
    target = torch.zeros(1, 20)
    target[0, 10] = 1
    near, far = torch.full((1, 20), -3.0), torch.full((1, 20), -3.0)
    near[0, 11], far[0, 14] = 0.0, 0.0
    assert pulse_loss(near, target) < pulse_loss(far, target)
    assert float(pulse_loss(near, torch.full((1, 20), -1))) == pytest.approx(0.0, abs=1e-6)


def test_f_measure_matches_each_time_once() -> None:
    assert f_measure(np.array([1.0, 2.0]), np.array([1.05, 2.2])) == 0.5
    assert f_measure(np.array([1.0, 1.02]), np.array([1.0])) == pytest.approx(2 / 3)
    assert f_measure(np.array([]), np.array([1.0])) == 0.0
    assert f_measure(np.array([]), np.array([])) == 1.0


def test_impossible_configs_are_refused() -> None:
    for changes in (
        {"salience_bins": 16},
        {"window_frames": 600},
        {"mert_drop": 2.0},
        {"transformer": TransformerConfig()},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
