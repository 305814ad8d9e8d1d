"""The packages `encodec` and `laion-clap` themselves, with random weights: what they give, through our doors.

`make test-originals` brings the packages into an environment of their own; elsewhere these tests are skipped. What the
networks do not use is stood in for while they are imported: torchaudio, torchvision and packages of the training code,
and the three tokenizers that laion-clap downloads then.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from original_files import write_roberta_tokenizer

from accompany.encoders.codec import Codec
from accompany.encoders.published import load_clap

_UNUSED = (
    *("torchaudio", "torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.ops"),
    *("torchvision.ops.misc", "pandas", "h5py", "webdataset", "wget", "braceexpand", "PIL", "ftfy", "regex", "timm"),
    *("horovod", "horovod.torch"),
)
TEXTS = ["warm piano", "loud drums and a long sentence that goes on", ""]


@contextmanager
def stand_ins() -> Iterator[None]:
    """Empty modules in place of those that are not used here and not installed."""
    from transformers import ClapModel, EncodecModel, RobertaModel, RobertaTokenizer  # noqa: F401  asks what is there

    absent = [name for name in _UNUSED if importlib.util.find_spec(name.split(".")[0]) is None]
    sys.modules.update({name: MagicMock(__spec__=None, __version__="0") for name in absent})
    yield
    for name in absent:
        del sys.modules[name]


def package(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the package {name} is not installed; make test-originals installs it")


def test_encodec_gives_equal_codes_and_sound(tmp_path: Path) -> None:
    package("encodec")
    with stand_ins():
        import encodec

    torch.manual_seed(0)
    theirs = encodec.EncodecModel.encodec_model_24khz(pretrained=False).eval()
    theirs.set_target_bandwidth(6.0)
    for layer in theirs.quantizer.vq.layers:
        layer._codebook.embed.normal_(0, 0.05)  # a new one holds zeros, which all codes fit alike
        layer._codebook.inited.fill_(1)
    torch.save(theirs.state_dict(), tmp_path / "full.th")
    ours = Codec.from_pretrained(tmp_path / "full.th", n_codebooks=8)
    heard = torch.randn(1, 1, 24000) * 0.3
    with torch.no_grad():
        frames = theirs.encode(heard)
        codes = frames[0][0]
        assert len(codes.unique()) > 20
        assert (ours.encode(heard) == codes).float().mean() > 0.99
        torch.testing.assert_close(ours.decode(codes, 24000), theirs.decode(frames)[..., :24000], atol=1e-4, rtol=0)


def test_laion_clap_gives_equal_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package("laion_clap")
    theirs = random_laion_clap(tmp_path, monkeypatch)
    state = {f"module.{name}": tensor for name, tensor in theirs.model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "random.pt")
    ours = load_clap(tmp_path / "random.pt")
    heard = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 480_000)).astype(np.float32)) * 0.1
    with torch.no_grad():
        text, sound = (
            theirs.get_text_embedding(TEXTS, use_tensor=True),
            theirs.get_audio_embedding_from_data(heard, True),
        )
        for found, expected in ((ours.embed_text(TEXTS), text), (ours.embed_audio(heard), sound)):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (text[0] - text[1]).abs().max() > 1e-4


def random_laion_clap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's smaller model, its text network cut to two layers and to a tokenizer that knows letters only."""
    import transformers

    write_roberta_tokenizer(folder / "roberta-base")
    letters = transformers.RobertaTokenizer.from_pretrained(folder / "roberta-base")
    sizes = transformers.RobertaConfig(
        vocab_size=len(letters),
        num_hidden_layers=2,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    with monkeypatch.context() as patched:
        for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):
            patched.setattr(getattr(transformers, name), "from_pretrained", lambda *_: letters)
        torch.manual_seed(0)
        patched.setattr(transformers.RobertaModel, "from_pretrained", lambda *_: transformers.RobertaModel(sizes))
        with stand_ins():
            import laion_clap
        return laion_clap.CLAP_Module(enable_fusion=False, device="cpu")
