"""Checkpoints of the packages encodec and laion-clap: what these networks give, through our doors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from original_files import golden, weights, write_encodec, write_laion_clap, write_roberta_tokenizer

from accompany.encoders.codec import Codec
from accompany.encoders.published import load_clap, save_clap
from accompany.errors import InputError


def test_encodec_gives_the_codes_and_the_sound_of_the_package(tmp_path: Path) -> None:
    codec = Codec.from_pretrained(write_encodec(tmp_path / "small.th"))
    expected = golden("encodec")
    heard = torch.from_numpy(np.random.RandomState(99).standard_normal((1, 1, 6000)).astype(np.float32)) * 0.3
    codes = torch.tensor(expected["codes"])[None]
    assert (codec.encode(heard) == codes).float().mean() > 0.99
    sound = codec.decode(codes)[0, 0, ::101]
    torch.testing.assert_close(sound, torch.tensor(expected["sound"])[: len(sound)], atol=1e-4, rtol=0)
    assert (codec.sample_rate, codec.frame_rate, codec.n_codebooks, codec.codebook_size) == (24000, 75, 4, 16)


def test_a_folder_with_one_th_file_is_a_codec(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_encodec(tmp_path / "encodec_24khz-d7cc33bc.th")
    with caplog.at_level("DEBUG", "accompany"):
        codec = Codec.from_pretrained(tmp_path, n_codebooks=3)
    assert codec.n_codebooks == 3
    assert "licence MIT" in caplog.text


def test_laion_clap_gives_the_embeddings_of_the_package(tmp_path: Path) -> None:
    write_roberta_tokenizer(tmp_path)
    clap = load_clap(write_laion_clap(tmp_path / "small.pt"))
    expected = golden("laion_clap")
    ids = torch.tensor(expected["ids"])
    with torch.no_grad():
        text = clap.model.get_text_features(input_ids=ids, attention_mask=(ids != 1).long())
        mels = torch.from_numpy(np.random.RandomState(98).standard_normal((2, 1, 60, 64)).astype(np.float32)) * 5 - 10
        audio = clap.model.get_audio_features(input_features=mels, is_longer=torch.zeros(2, 1, dtype=torch.bool))
    for found, name in ((text, "text"), (audio, "audio")):
        embedding = torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)
        torch.testing.assert_close(embedding, torch.tensor(expected[name]), atol=1e-5, rtol=0)


def test_laion_clap_reads_as_much_text_as_the_package(tmp_path: Path) -> None:
    write_roberta_tokenizer(tmp_path / "roberta-base")
    clap = load_clap(write_laion_clap(tmp_path / "small.pt"))
    letters = "abcdefgh" * 20
    both = clap.embed_text([letters[:75], letters[:75] + "xyz"])
    torch.testing.assert_close(both[0], both[1])
    assert (clap.embed_text([letters[:74]]) - both[:1]).abs().max() > 1e-4
    assert clap.dim == 12 and clap.sample_rate == 48000


def test_what_was_read_is_saved_in_the_new_format(tmp_path: Path) -> None:
    write_roberta_tokenizer(tmp_path)
    clap = load_clap(write_laion_clap(tmp_path / "small.pt"))
    save_clap(clap, tmp_path / "new")
    assert not list((tmp_path / "new").glob("*.bin"))
    again = load_clap(tmp_path / "new")
    texts = ["warm piano", "", "letters " * 60]
    torch.testing.assert_close(again.embed_text(texts), clap.embed_text(texts))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("decoder.model.9.convtr.convtr.bias"), "missing: decoder.model.9.convtr.convtr.bias"),
        (lambda s: s.update(other=torch.zeros(1)), "unexpected: other"),
        (
            lambda s: s.update({"encoder.model.3.conv.conv.bias": torch.zeros(3)}),
            "of another shape: encoder.model.3.conv.conv.bias",
        ),
        (lambda s: s.clear(), "no key like"),
    ],
)
def test_an_encodec_that_does_not_fit_is_named(tmp_path: Path, change: Any, words: str) -> None:
    state = weights(golden("encodec")["shapes"])
    change(state)
    torch.save(state, tmp_path / "bad.th")
    with pytest.raises(InputError, match=words):
        Codec.from_pretrained(tmp_path / "bad.th")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("text_branch.pooler.dense.bias"), "missing: text_branch.pooler.dense.bias"),
        (
            lambda s: s.update({"audio_branch.patch_embed.mel_conv2d.weight": torch.zeros(1)}),
            "unexpected: audio_branch",
        ),
        (
            lambda s: s.update({"audio_branch.layers.1.blocks.0.attn.qkv.weight": torch.zeros(3, 2)}),
            "of another shape: audio_branch.layers.1.blocks.0.attn.qkv.weight",
        ),
        (lambda s: s.pop("text_projection.0.weight"), "missing: text_projection.0.weight"),
    ],
)
def test_a_clap_that_does_not_fit_is_named(tmp_path: Path, change: Any, words: str) -> None:
    state = weights(golden("laion_clap")["shapes"])
    change(state)
    torch.save(state, tmp_path / "bad.pt")
    write_roberta_tokenizer(tmp_path)
    with pytest.raises(InputError, match=words):
        load_clap(tmp_path / "bad.pt")


def test_a_tokenizer_with_too_many_words_is_refused(tmp_path: Path) -> None:
    write_laion_clap(tmp_path / "small.pt")
    write_roberta_tokenizer(tmp_path)
    vocabulary = (tmp_path / "vocab.json").read_text()
    more = "".join(f', "word{n}": {n}' for n in range(34, 80))
    (tmp_path / "vocab.json").write_text(vocabulary[:-1] + more + "}")
    with pytest.raises(InputError, match="more words"):
        load_clap(tmp_path / "small.pt")


def test_the_package_encodec_agrees_where_it_is_installed(tmp_path: Path) -> None:
    encodec = pytest.importorskip("encodec", reason="the extra encodec is not installed", exc_type=ImportError)
    theirs = encodec.EncodecModel.encodec_model_24khz(pretrained=False).eval()
    theirs.set_target_bandwidth(6.0)
    torch.save(theirs.state_dict(), tmp_path / "full.th")
    ours = Codec.from_pretrained(tmp_path / "full.th", n_codebooks=8)
    sound = torch.randn(1, 1, 24000) * 0.1
    with torch.no_grad():
        assert (ours.encode(sound) == theirs.encode(sound)[0][0]).float().mean() > 0.99
