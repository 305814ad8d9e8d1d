"""The spectral codec: pieces coded and decoded as the whole, tones that stay coherent, configs, loading, training."""

from __future__ import annotations

import copy
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from accompany.common.saving import save_module
from accompany.encoders.codecs import load_codec
from accompany.encoders.spectral_analysis import AnalysisConfig
from accompany.encoders.spectral_codec import SpectralCodec, SpectralCodecConfig
from accompany.encoders.spectral_synthesis import (
    Overlap,
    SynthesisConfig,
    ToneBand,
    ToneBandConfig,
    ToneControls,
    sharpened,
)
from accompany.errors import InputError
from accompany.training.encoders.spectral_decoding import decode_latents

RATE, HOP = 8000, 160
SMALL = SpectralCodecConfig(
    sample_rate=RATE,
    hop=HOP // 2,
    stack=2,
    latent=8,
    n_codebooks=3,
    codebook_size=16,
    analysis=AnalysisConfig(
        [256, 128], [2, 4], [16, 8], low_windows=[1024], low_bins=[40], side_window=256, side_mels=8, width=16, blocks=2
    ),
    synthesis=SynthesisConfig(24, 2, [ToneBandConfig(1024, 1, 60), ToneBandConfig(512, 30, 257)], 4, 80, 16, 1),
)


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    torch.manual_seed(0)
    made = SpectralCodec(SMALL).eval().requires_grad_(False)
    made.codebook_vectors.normal_()
    with torch.no_grad():  # an untrained encoder tells frames hardly apart
        made.encoder.project.weight *= 5
    return made


def _noise(n_items: int, n_samples: int, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_samples)
    return 0.2 * torch.randn(n_items, channels, n_samples, generator=generator)


@pytest.mark.parametrize(
    ("chunk_s", "n_samples"),
    [*itertools.product((0.02, 0.33, 1.0), (1, HOP, HOP + 1, RATE + 77)), (0.33, 3 * RATE), (1.0, 3 * RATE)],
)
def test_pieces_are_coded_and_decoded_as_the_whole(codec: SpectralCodec, chunk_s: float, n_samples: int) -> None:
    audio = _noise(2, n_samples)
    codes = codec.encode(audio)
    assert codes.shape == (2, 3, math.ceil(n_samples / HOP)) and codes.dtype == torch.long
    # A tie between two entries may fall either way: frames are compared, not demanded one by one.
    assert (codec.encode(audio, chunk_s=chunk_s) == codes).float().mean() > 0.99
    whole = codec.decode(codes, n_samples)
    assert whole.shape == (2, 2, n_samples) and whole.dtype == torch.float32
    shares: list[float] = []
    made = codec.decode(codes, n_samples, chunk_s=chunk_s, progress=lambda done, total: shares.append(done / total))
    assert torch.allclose(made, whole, atol=1e-3)
    assert shares == sorted(shares) and shares[-1] == 1


@pytest.mark.parametrize("sizes", [[1] * 60, [7, 0, 40, 13], [60], [59, 1]])
def test_a_stream_gives_the_sound_of_the_whole_as_it_goes(codec: SpectralCodec, sizes: list[int]) -> None:
    codes = codec.encode(_noise(2, 60 * HOP))
    stream = codec.stream(2)
    sounds = [stream.feed(part) for part in codes.split(sizes, dim=-1)]
    lag = 60 * HOP - sum(sound.shape[-1] for sound in sounds)
    assert 0 < lag <= (codec.decoder.reach + 2 * codec.decoder.edge) * HOP
    sound = torch.cat([*sounds, stream.finish()], dim=-1)
    assert sound.shape == (2, 2, 60 * HOP) and torch.allclose(sound, codec.decode(codes), atol=1e-3)
    assert codec.stream(2).finish().shape == (2, 2, 0)


def test_decoding_is_level_from_the_first_sample_to_the_last(codec: SpectralCodec) -> None:
    sound = codec.decode(torch.tensor([3, 5, 7])[None, :, None].expand(8, -1, 60))
    first, middle, last = (sound[..., at : at + 4 * HOP].std() for at in (0, 28 * HOP, 56 * HOP))
    assert float(first / middle) == pytest.approx(1, abs=0.3) and float(last / middle) == pytest.approx(1, abs=0.3)


def test_the_training_path_makes_the_same_sound(codec: SpectralCodec) -> None:
    codes = codec.encode(_noise(2, RATE))
    sound, controls = decode_latents(codec.decoder, codec.dequantize(codes), under_way=False)
    assert torch.allclose(sound, codec.decode(codes), atol=1e-5)
    assert [values[0].shape for values in controls] == [(2, 100, 59), (2, 100, 227)]


@pytest.mark.parametrize("n_samples", [None, 0, 100, 10_000])
def test_length_wanted_is_length_given(codec: SpectralCodec, n_samples: int | None) -> None:
    codes = codec.encode(_noise(1, 20 * HOP))
    sound = codec.decode(codes, n_samples)
    assert sound.shape[-1] == (20 * HOP if n_samples is None else n_samples)
    assert not sound[..., 20 * HOP :].any()
    assert codec.decode(codes[..., :0], n_samples).shape == (1, 2, n_samples or 0)
    assert codec.encode(torch.zeros(2, 2, 0)).shape == (2, 3, 0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_is_coded(codec: SpectralCodec, channels: int) -> None:
    audio = _noise(1, RATE, channels)
    wanted = audio if channels == 2 else audio.mean(1, keepdim=True).expand(-1, 2, -1)
    assert torch.equal(codec.encode(audio), codec.encode(wanted))


def test_fewer_streams_decode_coarsely_and_wrong_codes_are_refused(codec: SpectralCodec) -> None:
    codes = codec.encode(_noise(1, RATE))
    assert len(codes.unique()) > 4
    last = codec.codebooks[2][codes[:, 2]].mT
    assert torch.allclose(codec.dequantize(codes[:, :2]), codec.dequantize(codes) - last, atol=1e-5)
    assert codec.decode(codes[:, :1]).shape == (1, 2, RATE)
    with pytest.raises(InputError, match="3 streams of codes, not 4"):
        codec.decode(torch.zeros(1, 4, 5, dtype=torch.long))
    with pytest.raises(InputError, match="0 to 15"):
        codec.decode(codes + 16)


@pytest.mark.parametrize(("window", "hop"), [(400, 100), (160, 40), (1024, 160), (1176, 294)])
def test_overlapped_frames_give_back_what_was_windowed(window: int, hop: int) -> None:
    audio = _noise(1, 20 * hop, 1)[0]
    overlap = Overlap(window, hop)
    edge = -(-window // hop)
    padded = torch.nn.functional.pad(audio, (edge * hop + overlap.before, edge * hop + window))
    frames = padded.unfold(-1, window, hop)[:, : 20 + 2 * edge]
    sound = overlap(torch.fft.rfft(frames * torch.hann_window(window)))
    begin = edge * hop + overlap.before
    assert torch.allclose(sound[:, begin : begin + 20 * hop], audio, atol=1e-5)


@pytest.mark.parametrize("under_way", [True, False])
@pytest.mark.parametrize("hz", [220.0, 233.1, 997.0])
def test_a_steady_tone_stays_one_line(hz: float, under_way: bool) -> None:
    """Magnitudes of a sine and its deviation make a sine again, though phases start anywhere."""
    window, n_frames = 1024, 120
    band = ToneBand(ToneBandConfig(window, 1, 500), 4, HOP)
    centre = hz * window / RATE
    bins = torch.arange(1, 500)
    distance = (bins - centre).abs()
    lobe = torch.where(distance < 2, torch.cos(math.pi * distance / 4) ** 2 * window / 4, torch.tensor(1e-6))
    shape = (1, n_frames, 499)
    controls = ToneControls(
        lobe.log().expand(shape),
        (centre - bins).expand(shape),
        torch.zeros(shape, dtype=torch.complex64),
        torch.zeros(shape),
        torch.full(shape, -7.0),
    )
    spectra, _ = band.spectra(controls, None if under_way else band.start(1))
    sound = band.overlap(spectra)[0, 4096:12_288].numpy()
    power = np.square(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))))
    peak = int(np.argmax(power))
    assert peak * RATE / len(sound) == pytest.approx(hz, abs=1.0)
    # All but a hundredth of the power lies within 4 Hz: no sidebands at the rate of the frames.
    assert power[peak - 4 : peak + 5].sum() > 0.99 * power.sum()


def test_sharpened_tones_keep_their_power() -> None:
    logs = torch.randn(2, 3, 80, generator=torch.Generator().manual_seed(0))
    made = sharpened(logs, 1.5, 9)
    assert made.std() > 1.2 * logs.std()
    power, kept = ((2 * each).exp().mean(-1) for each in (logs, made))
    torch.testing.assert_close(kept, power, rtol=0.35, atol=0)
    flat = torch.full((1, 1, 40), -3.0)
    torch.testing.assert_close(sharpened(flat, 1.5, 9), flat)


def test_an_attack_does_not_depend_on_what_was_before() -> None:
    torch.manual_seed(0)
    shape = (2, 30, 60)
    magnitudes = torch.randn(1, *shape[1:]).expand(shape).clone()
    magnitudes[:, :15] -= 8  # silence, then an attack
    gains = torch.zeros(shape, dtype=torch.complex64)
    controls = ToneControls(magnitudes, torch.zeros(shape), gains, torch.zeros(shape), torch.full(shape, -7.0))
    band = ToneBand(ToneBandConfig(1024, 1, 61), 4, HOP)
    mid = band.spectra(controls, None)[0][:2, :, 1:61]
    assert (mid[0, :15] - mid[1, :15]).abs().max() > 1e-4
    assert torch.allclose(mid[0, 15:], mid[1, 15:], atol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": 81}, "multiple"),
        ({"n_codebooks": 0}, "at least 1"),
        ({"analysis": {"looks": [1]}}, "as many"),
        ({"analysis": {"low_bins": [600], "low_windows": [1024]}}, "1 to 511"),
        ({"synthesis": {"noise_window": 161}}, "even"),
        ({"synthesis": {"sharpness": 0.5}}, "between 1 and 2"),
        ({"synthesis": {"tones": [{"window": 1024, "first_bin": 9, "end_bin": 900}]}}, "0 to 513"),
    ],
)
def test_configs_that_cannot_work_are_refused(change: dict[str, object], message: str) -> None:
    from accompany.common.config import from_dict, to_dict

    values = to_dict(SMALL)
    for key, value in change.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    with pytest.raises(InputError, match=message):
        from_dict(SpectralCodecConfig, values)


def test_saved_and_loaded_by_its_config(codec: SpectralCodec, tmp_path: Path) -> None:
    save_module(codec, SMALL, tmp_path / "codec", half=False)
    loaded = load_codec(tmp_path / "codec", n_codebooks=2)
    assert isinstance(loaded, SpectralCodec) and loaded.n_codebooks == 2 and len(loaded.codebooks) == 2
    assert (loaded.sample_rate, loaded.channels, loaded.frame_rate, loaded.codebook_size) == (RATE, 2, 50.0, 16)
    codes = codec.encode(_noise(1, RATE))
    assert torch.allclose(loaded.decode(codes[:, :2]), codec.decode(codes[:, :2]), atol=1e-4)
    with pytest.raises(InputError, match="1 to 3"):
        load_codec(tmp_path / "codec", n_codebooks=4)
    config = json.loads((tmp_path / "codec" / "config.json").read_text())
    (tmp_path / "codec" / "config.json").write_text(json.dumps(config | {"latent": 9}))
    with pytest.raises(InputError, match="do not fit"):
        load_codec(tmp_path / "codec")


def _write_songs(root: Path, n_songs: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(n_songs):
        stems = root / f"{number:06d}" / "stems"
        stems.mkdir(parents=True)
        time_s = np.arange(2 * RATE) / RATE
        sounds = {
            "drums": 0.1 * rng.standard_normal((2 * RATE, 2)),
            "upright bass": 0.2 * np.sin(2 * np.pi * 80 * time_s)[:, None].repeat(2, axis=1),
            "piano": 0.2 * np.sin(2 * np.pi * 440 * time_s)[:, None] * [1.0, 0.3],
        }
        for name, sound in sounds.items():
            soundfile.write(stems / f"{name}.flac", sound, RATE)
        soundfile.write(stems.parent / "accompaniment.flac", sum(sounds.values()), RATE)


def _training(root: Path, steps: int, *, adversarial: bool = False, run: str = "run", init: str = "") -> Path:
    from accompany.training.encoders.loop import LoopConfig
    from accompany.training.encoders.spectral_codec import train_spectral_codec
    from accompany.training.encoders.spectral_config import AdversarialConfig, PhaseConfig, SpectralCodecTrainingConfig
    from accompany.training.encoders.spectral_losses import SpectralLossConfig

    losses = SpectralLossConfig([[256, 64, 16], [512, 128, 20]], [512, 1024])
    phases = [PhaseConfig(2, 32, LoopConfig(steps=n, save_every=1, bf16=False)) for n in (3, steps, 2)]
    judges = AdversarialConfig(adversarial, phases[2], [128], [3], 2)
    config = SpectralCodecTrainingConfig(
        [str(root / "songs")], str(root / run), SMALL, losses, held_out=1, codes=phases[0], decoder=phases[1],
        start_frames=400, adversarial=judges, init=init,
    )  # fmt: skip
    return train_spectral_codec(config)


def test_songs_are_found_and_split_by_song(tmp_path: Path) -> None:
    from accompany.training.encoders.audio_dataset import song_folders, split_songs

    _write_songs(tmp_path, 4)
    training, held_out = split_songs(song_folders([tmp_path]), 1)
    assert [song.name for song in held_out] == ["000003"] and len(training) == 3
    with pytest.raises(InputError, match="accompany synth"):
        song_folders([tmp_path / "000000"])
    with pytest.raises(InputError, match="too few"):
        split_songs(song_folders([tmp_path]), 4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_starts_linear_goes_on_and_exports(tmp_path: Path) -> None:
    pytest.importorskip("vector_quantize_pytorch", reason="the extra train is not installed")
    _write_songs(tmp_path / "songs", 3)
    first = load_codec(_training(tmp_path, 1))
    assert isinstance(first, SpectralCodec)
    tone = torch.from_numpy(soundfile.read(tmp_path / "songs/000002/stems/piano.flac", dtype="float32")[0].T)[None]
    codes = first.encode(tone)
    assert len(first.codebook_vectors.unique()) > 100 and int(codes.max()) > 0
    # The linear start alone gives back the tone at its place and about its level, before the decoder has learnt.
    middle = first.decode(codes).mean(1)[0, RATE // 2 : -RATE // 2].numpy()
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(440, abs=6)
    assert middle.std() / float(tone.mean(1).std()) == pytest.approx(1, abs=0.6)
    second = load_codec(_training(tmp_path, 3))
    assert torch.equal(second.codebook_vectors, first.codebook_vectors)
    assert not torch.equal(second.decoder.enter.weight, first.decoder.enter.weight)
    third = load_codec(_training(tmp_path, 3, adversarial=True))
    assert not torch.equal(third.decoder.enter.weight, second.decoder.enter.weight)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_decoder_learns_on_from_a_codec_whose_codes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vector_quantize_pytorch", reason="the extra train is not installed")
    _write_songs(tmp_path / "songs", 3)
    begun = _training(tmp_path, 1)
    before, after = load_codec(begun), load_codec(_training(tmp_path, 2, run="on", init=str(begun)))
    assert isinstance(before, SpectralCodec) and not (tmp_path / "on" / "codes").exists()
    assert torch.equal(after.codebook_vectors, before.codebook_vectors)
    moved = (after.decoder.enter.weight - before.decoder.enter.weight).abs().max()
    assert 0 < moved < 0.1 * before.decoder.enter.weight.abs().max(), "from its weights, not from a start of its own"
    monkeypatch.setattr("accompany.training.encoders.spectral_codec.load_codec", lambda folder: object())
    with pytest.raises(InputError, match="is an EnCodec; name the folder of a spectral codec"):
        _training(tmp_path, 1, run="other", init=str(begun))


def test_the_spread_of_magnitudes_tells_tones_from_noise_wherever_they_lie() -> None:
    from accompany.training.encoders.spectral_losses import SpectralLoss, SpectralLossConfig

    loss = SpectralLoss(SpectralLossConfig([[512, 128, 20]], [1024], spread=1.0), RATE)
    time = torch.arange(4096) / RATE
    tone, beside = (torch.sin(2 * math.pi * bin_ * RATE / 1024 * time)[None] for bin_ in (90, 91))
    band = torch.fft.rfft(torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)))
    band[:, :336], band[:, 385:] = 0, 0  # bins 84 to 96 of the transforms of 1,024
    noise = torch.fft.irfft(band)
    noise = noise * tone.std() / noise.std()
    terms = [loss(made, tone)[1] for made in (tone, beside, noise)]
    assert terms[0]["spread"] == pytest.approx(0, abs=1e-6)
    assert terms[2]["spread"] > 3 * terms[1]["spread"]
    off, blurred = terms[1:]
    assert off["spread"] / blurred["spread"] < off["log_linear"] / blurred["log_linear"]


def test_the_decoder_may_learn_with_fewer_codebooks(codec: SpectralCodec) -> None:
    from accompany.training.encoders.spectral_config import SpectralCodecTrainingConfig
    from accompany.training.encoders.spectral_decoding import DecoderTraining

    config = SpectralCodecTrainingConfig(["songs"], model=codec.config, decoder_codebooks=1, full_depth_share=1.0)
    truth = _noise(2, 3200)
    made = DecoderTraining(copy.deepcopy(codec), config, None).latents(truth, 0)  # type: ignore[arg-type]
    codes = codec.encode(truth)
    torch.testing.assert_close(made, codec.dequantize(codes[:, :1]))
    assert not torch.allclose(made, codec.dequantize(codes))
    with pytest.raises(ValueError, match="decoder_codebooks"):
        SpectralCodecTrainingConfig(["songs"], model=codec.config, decoder_codebooks=99)


def test_discriminators_and_decoder_learn_apart() -> None:
    from accompany.training.encoders.discriminators import Discriminators

    torch.manual_seed(0)
    judges = Discriminators([64], [3], 2)
    made, truth = _noise(2, 600, 1)[:, 0].requires_grad_(), _noise(2, 601, 1)[:, 0, :600]
    learn, fool, apart = judges.losses(made, truth)
    (fool + apart).backward(retain_graph=True)
    assert made.grad is not None and made.grad.abs().max() > 0
    assert all(value.grad is None for value in judges.parameters())
    made.grad = None
    learn.backward()
    assert made.grad is None and all(value.grad is not None for value in judges.parameters())


def test_packed_stems_sum_to_the_mix_and_crops_follow_their_seed(tmp_path: Path) -> None:
    from accompany.training.encoders.stem_crops import StemCrops, pack

    _write_songs(tmp_path / "songs", 2)
    songs = sorted((tmp_path / "songs").iterdir())
    samples, starts = pack(songs, tmp_path / "packed", RATE)
    assert samples.shape == (3, 2, 4 * RATE) and starts.tolist() == [0, 2 * RATE, 4 * RATE]
    mix = soundfile.read(songs[1] / "accompaniment.flac", dtype="float32")[0].T
    assert np.allclose(samples[:, :, 2 * RATE :].sum(0) / 32768, mix, atol=3e-4)
    crops = StemCrops(songs, tmp_path / "packed", {"bass": 1.0}, sample_rate=RATE, n_samples=1600)
    batch = crops.batch(4, 0, 1)
    assert torch.equal(batch, crops.batch(4, 0, 1)) and not torch.equal(batch, crops.batch(4, 0, 2))
    spectrum = torch.fft.rfft(batch[:, 0])
    assert (spectrum.abs().argmax(-1) == 16).all() and 0.1 < float(batch.abs().max()) <= 0.91
    shares = {"bass": 1.0, "mix": 1.0}
    varied = StemCrops(songs, tmp_path / "packed", shares, sample_rate=RATE, n_samples=1600, varied=1.0).batch(40, 0)
    assert varied.shape == (40, 2, 1600)
    tones = torch.fft.rfft(varied[:, 0], n=16_000)[:, :400].abs().argmax(-1) / 2  # Hz
    assert 74 < tones[tones < 100].min() < 78 and 82 < tones[tones < 100].max() < 86
    with pytest.raises(ValueError, match="longer than a crop"):
        StemCrops(songs, tmp_path / "packed", {"bass": 1.0}, sample_rate=RATE, n_samples=3 * RATE)


def test_the_shipped_config_is_complete() -> None:
    from accompany.common.overrides import load_config
    from accompany.training.encoders.spectral_config import SpectralCodecTrainingConfig

    config = load_config(SpectralCodecTrainingConfig, "spectral_codec", ["songs=[a]", "out=b"])
    assert config.model == SpectralCodecConfig() and config.model.frame_rate == 25.0
    bits = config.model.n_codebooks * math.log2(config.model.codebook_size) * config.model.frame_rate
    assert bits <= 4000
    with pytest.raises(InputError, match="multiple of stack"):
        load_config(SpectralCodecTrainingConfig, "spectral_codec", ["songs=[a]", "out=b", "codes.frames=61"])


def test_samples_while_training_are_at_its_rate(codec: SpectralCodec, random_bundle_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from small_parts import write_songs

    from accompany.training.samples import Samples
    from accompany.training.tasks import AcousticTraining

    bundle = shutil.copytree(random_bundle_dir, tmp_path / "bundle")
    shutil.rmtree(bundle / "codec")
    save_module(codec, SMALL, bundle / "codec")
    content = json.loads((bundle / "bundle.json").read_text())
    content["parts"]["codec"]["options"] = {}
    (bundle / "bundle.json").write_text(json.dumps(content))
    songs = write_songs(tmp_path / "songs", 1, seconds=11.0)
    config = AcousticTraining(bundle=str(bundle), sample_songs=str(songs))
    (clip,) = Samples("acoustic", config, tmp_path).clips
    assert clip.sample_rate == RATE and len(clip.vocal) == 10 * RATE
