"""Augmentation of vocals: aligned, bounded, fixed by the generator, and every effect audible."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from accompany.data.tokens.augment import AugmentConfig, augment_vocal, clip_peaks, compress, noise, reverberate

RATE = 24000
NOTHING = AugmentConfig(
    reverb_rate=0, eq_rate=0, band_limit_rate=0, compress_rate=0, clip_rate=0, bleed_rate=0, noise_rate=0,
    gain_db=(0.0, 0.0),
)  # fmt: skip


def voice(seconds: float = 2.0) -> np.ndarray:
    """Bursts of a harmonic tone with silence between them."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 220 * k * time_s) / k for k in range(1, 20))
    return (0.2 * tone * (time_s % 0.5 < 0.3)).astype(np.float32)


def clicks() -> np.ndarray:
    """A click now and then: where a copy of it lies is plain, whatever rings after it."""
    samples = np.zeros(RATE, np.float32)
    samples[generator(7).integers(0, RATE, 12)] = 0.5
    return samples


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(12))
def test_the_chain_keeps_length_and_place(seed: int) -> None:
    dry = clicks()
    out = augment_vocal(dry, RATE, generator(seed), bleed=noise(RATE, RATE, generator(99)))
    assert out.shape == dry.shape and out.dtype == np.float32
    assert np.isfinite(out).all() and np.abs(out).max() <= 1.0
    again = augment_vocal(dry, RATE, generator(seed), bleed=noise(RATE, RATE, generator(99)))
    assert np.array_equal(out, again)
    lag = int(np.argmax(np.abs(np.correlate(out, dry[200:-200], "valid")))) - 200
    assert abs(lag) <= RATE * 0.0005


def test_nothing_drawn_changes_nothing() -> None:
    assert np.allclose(augment_vocal(voice(), RATE, generator(), config=NOTHING), voice(), atol=1e-6)


@pytest.mark.parametrize("effect", ["reverb", "eq", "band_limit", "compress", "clip", "bleed", "noise"])
def test_every_rate_switches_its_effect(effect: str) -> None:
    config = dataclasses.replace(NOTHING, **{f"{effect}_rate": 1.0})
    band = noise(RATE, RATE, generator(5))
    changed = augment_vocal(voice(), RATE, generator(1), bleed=band, config=config)
    assert np.abs(changed - voice()).max() > 1e-3
    with pytest.raises(ValueError, match=f"{effect}_rate"):
        AugmentConfig(**{f"{effect}_rate": 1.5})


def test_noise_has_the_asked_level() -> None:
    for snr in (15.0, 40.0):
        config = dataclasses.replace(NOTHING, noise_rate=1.0, snr_db=(snr, snr))
        dry = voice()
        # The gain afterwards keeps the peak, so compare in the rests, against the sung part.
        out = augment_vocal(dry, RATE, generator(3), config=config)
        rest, sung = out[np.abs(dry) == 0], out[np.abs(dry) > 0.02 * dry.max()]
        measured = 10 * np.log10(np.mean(sung**2) / np.mean(rest**2))
        assert measured == pytest.approx(snr, abs=1.5)


def test_a_room_rings_as_long_as_asked() -> None:
    click = np.zeros(2 * RATE, np.float32)
    click[100] = 1.0
    wet = reverberate(click, RATE, 0.5, 0.0, generator())
    assert wet[100] == pytest.approx(1.0, abs=1e-4) and np.abs(wet[:100]).max() < 1e-5
    early, late = np.mean(wet[2000:4000] ** 2), np.mean(wet[100 + RATE // 2 :] ** 2)
    assert late < early * 1e-4


def test_silence_stays_silent_and_empty_stays_empty() -> None:
    for samples in (np.zeros(RATE, np.float32), np.zeros(0, np.float32)):
        for seed in range(6):
            out = augment_vocal(samples, RATE, generator(seed), bleed=voice())
            assert out.shape == samples.shape and np.abs(out).max(initial=0.0) < 1e-6


def test_compression_and_clipping_lower_peaks() -> None:
    dry = voice() * np.linspace(0.1, 1.0, 2 * RATE, dtype=np.float32)
    even = compress(dry, RATE, -20.0, 4.0)
    assert np.abs(even).max() / np.abs(even[:8000]).max() < np.abs(dry).max() / np.abs(dry[:8000]).max()
    assert np.abs(clip_peaks(dry, 0.5, hard=True)).max() == pytest.approx(0.5 * dry.max(), rel=0.3)
    assert np.abs(clip_peaks(dry, 0.5, hard=False)).max() < np.abs(dry).max()
