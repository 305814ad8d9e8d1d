"""The codec's recipe: crops, losses, codebooks, the linear start, and a run that is cut and goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import EncodecModel

from accompany.common.overrides import load_config
from accompany.errors import InputError
from accompany.training.encoders.audio_dataset import RandomCrops, held_out_clips, song_folders, split_songs
from accompany.training.encoders.codec import (
    CodecModelConfig,
    CodecPhaseConfig,
    CodecTrainer,
    CodecTrainingConfig,
    build_model,
    train_codec,
)
from accompany.training.encoders.codec_metrics import reconstruction_metrics
from accompany.training.encoders.linear_init import init_linear
from accompany.training.encoders.losses import (
    LossWeights,
    ReconstructionLoss,
    chroma_cosine,
    onset_correlation,
    rate_bits,
    si_sdr_db,
)
from accompany.training.encoders.quantizer import ResidualCodebooks, k_means

RATE = 24000
SMALL = CodecModelConfig(num_filters=4, hidden_size=16, n_codebooks=3, codebook_size=32)
SCALES = ((1024, 256, 40), (256, 64, 16))


def music(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """Plucked random notes over a noise hit every half second, `[T]`."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(round(seconds * rate))
    for start in np.arange(0.0, seconds - 0.3, 0.25):
        time_s = np.arange(round(0.25 * rate)) / rate
        hz = 110 * 2 ** (rng.integers(0, 25) / 12)
        note = 0.2 * np.sin(2 * np.pi * hz * time_s) * np.exp(-6 * time_s)
        hit = 0.1 * rng.standard_normal(len(time_s)) * np.exp(-40 * time_s) * (start % 0.5 == 0)
        samples[round(start * rate) :][: len(time_s)] += note + hit
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("songs")
    for index in range(4):
        folder = root / f"{index:06d}"
        (folder / "stems").mkdir(parents=True)
        stereo = np.stack([music(6.0, index)] * 2, axis=1)
        soundfile.write(folder / "accompaniment.flac", stereo, RATE)
        soundfile.write(folder / "vocals.flac", music(6.0, 100 + index, 44100), 44100)
        soundfile.write(folder / "stems" / "bass.flac", stereo * 0.5, RATE)
    return root


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.from_numpy(np.stack([music(2.0, seed) for seed in range(24)]))


def small_config(songs: Path, out: Path, **changes: object) -> CodecTrainingConfig:
    phases = {name: "{max_steps: 2, max_minutes: 5, lr: 1e-4, final_lr: 1e-5}" for name in ("autoencoder", "joint")}
    items = [f"songs=[{songs}]", f"out={out}", "held_out=1", "clip_s=1.0", "batch_size=2", "crop_s=0.5", "init_crops=8"]
    items += [f"{name}={phase}" for name, phase in phases.items()] + ["decoder={max_steps: 2, max_minutes: 5}"]
    items += ["model.num_filters=4", "model.hidden_size=16", "model.n_codebooks=3", "model.codebook_size=32"]
    items += ["scales=[[512,128,32]]", "kmeans_vectors=100", "kmeans_iterations=2", "evaluate_every=2"]
    return load_config(CodecTrainingConfig, None, items + [f"{key}={value}" for key, value in changes.items()])


def test_songs_are_found_split_by_song_and_read_at_the_codecs_rate(songs: Path) -> None:
    training, held_out = split_songs(song_folders([songs]), 1)
    assert [song.name for song in held_out] == ["000003"]
    assert len(training) == 3
    assert held_out_clips(held_out, sample_rate=RATE, clip_s=2.0, skip_s=1.0).shape == (1, 2 * RATE)
    with pytest.raises(InputError, match="accompany synth"):
        song_folders([songs / "000000"])
    with pytest.raises(InputError, match="too few"):
        split_songs(song_folders([songs]), 4)


def test_crops_repeat_with_their_seed_and_follow_the_weights(songs: Path) -> None:
    training = song_folders([songs])
    crops = RandomCrops(training, {"accompaniment": 1.0, "vocals": 1.0}, sample_rate=RATE, crop_s=0.5)
    first, again, other = (next(crops.batches(4, seed)) for seed in (1, 1, 2))
    assert first.shape == (4, RATE // 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.abs().max()) <= 1.0
    assert crops.kinds == ["accompaniment", "vocals"]
    with pytest.raises(InputError, match="weights"):
        RandomCrops(training, {"mix": 1.0}, sample_rate=RATE, crop_s=0.5)


def test_figures_are_perfect_for_the_same_audio_and_fall_with_noise(clips: torch.Tensor) -> None:
    noisy = clips + 0.05 * torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    for figure in (chroma_cosine, onset_correlation):
        assert float(figure(clips, clips, RATE).min()) == pytest.approx(1.0, abs=1e-4)
        assert float(figure(noisy, clips, RATE).mean()) < 0.97
    known = clips + clips.flip(0) * 0.1
    assert float(si_sdr_db(clips * 0.3, clips).min()) > 60.0
    assert 15.0 < float(si_sdr_db(known, clips).mean()) < 25.0


def test_onset_envelope_agrees_with_librosa(clips: torch.Tensor) -> None:
    librosa = pytest.importorskip("librosa")
    from accompany.training.encoders.losses import onset_envelope

    ours = onset_envelope(clips[:1], RATE)[0].numpy()
    theirs = librosa.onset.onset_strength(y=clips[0].numpy(), sr=RATE)[3:]  # it starts later: its lag and window
    assert np.corrcoef(ours[: len(theirs)], theirs)[0, 1] > 0.99


def test_every_loss_weight_changes_the_loss_and_a_smeared_attack_costs(clips: torch.Tensor) -> None:
    target, output = clips[:4], 0.5 * clips[:4] + 0.02
    full, terms = ReconstructionLoss(RATE, LossWeights(), SCALES)(output, target, envelope=True)
    assert set(terms) == {field.name for field in dataclasses.fields(LossWeights)}
    for name in terms:
        reduced, _ = ReconstructionLoss(RATE, LossWeights(**{name: 0.0}), SCALES)(output, target, envelope=True)
        assert float(reduced) != pytest.approx(float(full), rel=1e-4)
    early, fewer = ReconstructionLoss(RATE, LossWeights(), SCALES)(output, target)
    assert "envelope" not in fewer and float(early) < float(full)
    _, exact = ReconstructionLoss(RATE, LossWeights(), SCALES)(target, target, envelope=True)
    blurred = 0.5 * (target + target.roll(720, -1))
    _, smeared = ReconstructionLoss(RATE, LossWeights(), SCALES)(blurred, target, envelope=True)
    assert exact["onset"] < 1e-6
    assert smeared["onset"] > 0.01
    assert exact["envelope"] < 1e-5 < 0.002 < smeared["envelope"]


def test_rate_counts_the_bits_of_a_gaussian_channel() -> None:
    latents = torch.randn(8, 4, 5000, generator=torch.Generator().manual_seed(0)) * 3.0
    assert float(rate_bits(latents, 1.0)) == pytest.approx(4 * 0.5 * np.log2(10.0), rel=0.02)


def test_k_means_finds_separate_clusters_and_restarts_empty_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 10.0 * torch.randn(8, 4, generator=generator)
    vectors = (centres.unsqueeze(1) + 0.01 * torch.randn(8, 50, 4, generator=generator)).flatten(0, 1)
    found = k_means(vectors, 24, iterations=20, generator=generator)
    assert torch.isfinite(found).all()
    assert float(torch.cdist(centres, found).amin(1).max()) < 0.1


def test_codebooks_refine_follow_and_pass_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    books = ResidualCodebooks(3, 16, 4)
    rest = books.fit(torch.randn(400, 4, generator=generator), iterations=5, generator=generator)
    assert float(rest.var()) < 0.3
    latents = torch.randn(2, 4, 30, generator=generator, requires_grad=True)
    codes = books.encode(latents.detach())
    errors = [float((books.decode(codes[:, :k]) - latents.detach()).square().mean()) for k in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]
    before = books.embed.clone()
    quantized, commitment = books(latents, torch.tensor([3, 1]), update=False)
    assert torch.allclose(quantized[0], books.decode(codes)[0], atol=1e-5)
    assert torch.allclose(quantized[1], books.decode(codes[:, :1])[1], atol=1e-5)
    assert torch.equal(books.embed, before)
    (quantized.sum() + commitment).backward()
    assert latents.grad is not None and float(latents.grad.abs().min()) > 0
    books(latents, torch.tensor([3, 3]), update=True)
    assert not torch.equal(books.embed, before)


def test_export_gives_the_codes_and_audio_of_training(clips: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, books = build_model(SMALL).eval(), ResidualCodebooks(3, 32, 16)
    with torch.no_grad():
        latents = model.encoder(clips[:4].unsqueeze(1))
        generator = torch.Generator().manual_seed(0)
        books.fit(latents.transpose(1, 2).flatten(0, 1), iterations=3, generator=generator)
        books.export(model)
        model.save_pretrained(tmp_path)
        loaded = EncodecModel.from_pretrained(tmp_path).eval()
        codes = loaded.encode(clips[:4].unsqueeze(1)).audio_codes
        ours = books.encode(latents)
        assert torch.equal(codes.squeeze(0), ours)
        theirs = loaded.decode(codes, [None]).audio_values
        assert float((model.decoder(books.decode(ours)) - theirs).abs().max()) < 1e-5


def test_the_first_codebooks_can_be_exported_alone(songs: Path, tmp_path: Path) -> None:
    trainer = CodecTrainer(small_config(songs, tmp_path / "run", export_codebooks=2))
    trainer.fit_codebooks()
    whole, part = build_model(trainer.config.model), EncodecModel.from_pretrained(trainer.export(tmp_path / "two"))
    trainer.codebooks.export(whole)
    assert len(part.quantizer.layers) == 2 and float(part.config.target_bandwidths[0]) == 2 * 5 * 50 / 1000
    for two, three in zip(part.quantizer.layers, whole.quantizer.layers, strict=False):
        assert torch.equal(two.codebook.embed, three.codebook.embed.half())
    for ours, theirs in zip(trainer.average.decoder.parameters(), part.decoder.parameters(), strict=True):
        assert torch.equal(ours.half(), theirs)
    with pytest.raises(InputError, match="export_codebooks"):
        small_config(songs, tmp_path, export_codebooks=4)


def test_a_run_of_another_shape_is_refused(songs: Path, tmp_path: Path) -> None:
    CodecTrainer(small_config(songs, tmp_path / "run")).save()
    with pytest.raises(InputError, match="another shape; choose another out"):
        CodecTrainer(small_config(songs, tmp_path / "run", **{"model.n_codebooks": 2}))


@pytest.mark.parametrize("residual", [0, 1])
def test_the_linear_start_already_reconstructs(clips: torch.Tensor, residual: int) -> None:
    torch.manual_seed(0)
    shape = CodecModelConfig(num_filters=8, hidden_size=48, num_residual_layers=residual)
    model = build_model(shape)
    before = reconstruction_metrics(model, clips[:4], None)
    init_linear(model, clips, noise_std=0.1, rate_bits=150.0)
    after = reconstruction_metrics(model, clips[:4], None)
    assert after["si_sdr_db"] > max(5.0, before["si_sdr_db"] + 5.0)
    assert after["chroma_cosine"] > 0.9
    assert rate_bits(model.encoder(clips.unsqueeze(1)), 0.1).item() == pytest.approx(150.0, rel=0.15)


def test_a_cut_run_goes_on_through_all_phases_and_exports_half_precision(songs: Path, tmp_path: Path) -> None:
    config = small_config(songs, tmp_path / "run")
    trainer = CodecTrainer(config)
    trainer._run_phase("autoencoder", config.autoencoder)
    trainer.save()
    resumed = CodecTrainer(config)
    assert (resumed.phase, resumed.step) == (0, 2)
    for ours, theirs in zip(trainer.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    out = train_codec(config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"autoencoder", "joint", "decoder"}
    assert all(np.isfinite(list(line["figures"].values())).all() for line in lines)
    model = EncodecModel.from_pretrained(out, dtype=torch.float32).eval()
    assert (model.config.frame_rate, model.quantizer.num_quantizers) == (50, 3)
    with torch.no_grad():
        made = model(trainer.held_out[:, None]).audio_values[:, 0]
    logged = lines[-1]["figures"]["si_sdr_db"]
    assert si_sdr_db(made, trainer.held_out).mean().item() == pytest.approx(logged, abs=0.5)
    assert (out / "model.safetensors").stat().st_size < 1 << 20
    assert not list((tmp_path / "run").glob("*.part"))
    longer = CodecTrainer(dataclasses.replace(config, decoder=CodecPhaseConfig(3, 5.0, 1e-4, 1e-5)))
    longer.run()
    assert (longer.phase, longer.step) == (2, 3)


def test_training_lowers_the_loss_and_spares_the_encoder_at_last(songs: Path, tmp_path: Path) -> None:
    trainer = CodecTrainer(small_config(songs, tmp_path / "run", bf16=False))
    batch = next(trainer._batches())
    losses = [trainer._step("autoencoder", batch, 2e-4, 0.0)["loss"] for _ in range(12)]
    assert losses[-1] < losses[0]
    trainer.phase = 2
    trainer._enter("decoder")
    before = [p.clone() for p in trainer.model.encoder.parameters()]
    trainer._step("decoder", batch, 1e-3, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.encoder.parameters(), strict=True))


def test_configs_are_checked(songs: Path, tmp_path: Path) -> None:
    config = load_config(CodecTrainingConfig, "codec", [f"songs=[{songs}]", f"out={tmp_path}"])
    assert config.model.frame_rate == 50
    with pytest.raises(InputError, match="full_depth_share"):
        small_config(songs, tmp_path, full_depth_share=2)
    with pytest.raises(InputError, match="did you mean 'batch_size'"):
        small_config(songs, tmp_path, bach_size=2)
