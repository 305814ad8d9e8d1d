"""Strict loading, half precision, bundles and the hub."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accompany.common.published import load_transformers
from accompany.common.saving import save_half, save_module, save_state
from accompany.common.weights import load_module, read_state
from accompany.encoders.codec import Codec
from accompany.errors import InputError
from accompany.models import pretrained
from accompany.models.parts import PARTS, PartInfo
from accompany.models.pretrained import (
    find_bundle,
    lasting_name,
    list_bundles,
    load_bundle,
    read_bundle,
)
from accompany.models.publishing import push_to_hub
from accompany.models.rates import rates
from accompany.models.single_parts import load_frozen_parts, load_part
from accompany.models.writing import save_bundle, write_bundle

transformers = pytest.importorskip("transformers")

WEIGHTS = "model.safetensors"


@pytest.fixture
def encodec() -> transformers.EncodecModel:
    torch.manual_seed(0)
    config = transformers.EncodecConfig(num_filters=4, hidden_size=16, target_bandwidths=[3.0])
    model = transformers.EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return model.eval()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def blocked(*_args: object, **_options: object) -> None:
        raise OSError("this test has no network")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, blocked)
    monkeypatch.setattr(socket.socket, "connect", blocked)


def change_weights(folder: Path, change: object) -> None:
    state = read_state(folder / WEIGHTS)
    change(state)  # type: ignore[operator]
    save_state(state, folder / WEIGHTS, {"format": "pt"})


# --- published formats ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.layers.0.conv.bias"), r"missing: encoder\.layers\.0\.conv\.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected: extra"),
        (
            lambda s: s.update({"encoder.layers.0.conv.bias": torch.zeros(5)}),
            r"of another shape: encoder\.layers\.0\.conv\.bias",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    encodec: transformers.EncodecModel, change: object, message: str, tmp_path: Path
) -> None:
    encodec.save_pretrained(tmp_path)
    change_weights(tmp_path, change)
    with pytest.raises(InputError, match=message):
        Codec.from_pretrained(tmp_path)


def test_half_on_disk_is_single_in_memory(encodec: transformers.EncodecModel, tmp_path: Path) -> None:
    encodec.quantizer.layers[0].codebook.cluster_size.fill_(1e6)
    save_half(encodec, tmp_path)
    stored = read_state(tmp_path / WEIGHTS)
    assert stored["encoder.layers.0.conv.bias"].dtype == torch.float16
    loaded = load_transformers(transformers.EncodecModel, tmp_path)
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    assert not any(tensor.requires_grad for tensor in loaded.parameters()) and not loaded.training
    own, theirs = encodec.state_dict(), loaded.state_dict()
    assert all(torch.allclose(own[name].float(), theirs[name].float(), rtol=1e-3, atol=1e-4) for name in own)


def test_constants_may_be_missing_or_left_over(tmp_path: Path) -> None:
    """CLAP files of different releases hold other index buffers; they follow from the config and are no weights."""
    text = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    audio = {"depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32, "patch_embeds_hidden_size": 16}
    torch.manual_seed(0)
    model = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config=audio)).eval()
    model.save_pretrained(tmp_path)

    def strip(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if name.endswith(("_ids", "_index", "_tracked"))]:
            del state[name]

    change_weights(tmp_path, strip)
    loaded = load_transformers(transformers.ClapModel, tmp_path)
    own, theirs = model.state_dict(), loaded.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_broken_files_are_one_sentence(encodec: transformers.EncodecModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot load EncodecModel"):
        Codec.from_pretrained(tmp_path)
    encodec.save_pretrained(tmp_path)
    weights = tmp_path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="Cannot load EncodecModel"):
        Codec.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="Cannot load EncodecModel"):
        Codec.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="no model folder"):
        Codec.from_pretrained(tmp_path / "nowhere")


# --- our own modules ---


@dataclass(frozen=True)
class SmallConfig:
    width: int = 3
    rates: tuple[float, ...] = (1.0, 2.0)


class Small(nn.Module):
    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.width, 2)
        self.register_buffer("count", torch.tensor(3))


def test_own_modules_survive_saving(tmp_path: Path) -> None:
    module = Small(SmallConfig(width=5))
    save_module(module, module.config, tmp_path / "a" / "b")
    loaded = load_module(Small, tmp_path / "a" / "b")
    assert loaded.config.width == 5 and not loaded.training and loaded.linear.weight.dtype == torch.float32
    assert torch.allclose(loaded.linear.weight, module.linear.weight, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_own_modules_refuse_what_does_not_fit(tmp_path: Path) -> None:
    save_module(Small(SmallConfig()), SmallConfig(), tmp_path)
    change_weights(tmp_path, lambda state: state.update({"linear.bais": state.pop("linear.bias")}))
    with pytest.raises(InputError, match=r"missing: linear\.bias; unexpected: linear\.bais"):
        load_module(Small, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"widht": 3}))
    with pytest.raises(InputError, match="did you mean 'width'"):
        load_module(Small, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        load_module(Small, tmp_path)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot make the folder"):
        save_module(Small(SmallConfig()), SmallConfig(), tmp_path / "file")


# --- bundles ---


@pytest.fixture
def codec_bundle(encodec: transformers.EncodecModel, tmp_path: Path) -> Path:
    save_half(encodec, tmp_path / "made")
    part = PartInfo("codec", tmp_path / "made", "Apache-2.0", {"n_codebooks": 2})
    return write_bundle(tmp_path / "bundle", name="only a codec", license="Apache-2.0", parts={"codec": part})


def test_a_bundle_may_lack_parts(codec_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    info = read_bundle(codec_bundle)
    assert info.name == "only a codec" and [part.name for part in info.parts] == ["codec"]
    assert info.bytes > 10_000 and rates(info.parts[0]) == ("24 kHz", "mono", "75 frames/s")
    with caplog.at_level(logging.DEBUG, logger="accompany"):
        codec = load_part(codec_bundle, "codec")
    assert codec.n_codebooks == 2
    assert any("Apache-2.0" in record.message and record.levelno == logging.DEBUG for record in caplog.records)
    assert sorted(load_frozen_parts(codec_bundle)) == ["codec", "melody"]
    with pytest.raises(InputError, match="no part 'mert'"):
        load_bundle(codec_bundle)
    with pytest.raises(InputError, match="did you mean 'codec'"):
        load_part(codec_bundle, "codecs")


def edit_bundle(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "not of format 1"),
        ({"parts": {"codec": {"path": "codec"}}}, "license"),
        ({"parts": {"codec": {"path": "../made", "license": "MIT"}}}, "outside the model"),
        ({"parts": {"../codec": {"path": "codec", "license": "MIT"}}}, "outside the model"),
        ({"parts": 3}, "lacks or garbles"),
        (
            {"parts": {"codec": {"path": "codec", "license": "MIT", "options": {"n_codebook": 1}}}},
            "did you mean 'n_codebooks'",
        ),
    ],
)
def test_a_garbled_bundle_is_refused(codec_bundle: Path, changes: dict[str, object], message: str) -> None:
    edit_bundle(codec_bundle, **changes)
    with pytest.raises(InputError, match=message):
        load_part(codec_bundle, "codec")


def test_bundles_replace_bundles_only(codec_bundle: Path, tmp_path: Path) -> None:
    part = read_bundle(codec_bundle).parts[0]
    again = write_bundle(tmp_path / "again", name="x", license="MIT", parts={"codec": part})
    write_bundle(again, name="y", license="MIT", parts={"codec": part})
    assert read_bundle(again).name == "y"
    other = tmp_path / "holiday"
    other.mkdir()
    (other / "photo.jpg").write_text("")
    with pytest.raises(InputError, match="is no model of accompany"):
        write_bundle(other, name="x", license="MIT", parts={"codec": part})
    assert not list(tmp_path.glob(".*")) and [path.name for path in other.iterdir()] == ["photo.jpg"]


def test_names_are_found_or_explained(codec_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_bundle(codec_bundle) == codec_bundle
    monkeypatch.setattr(pretrained, "CHECKPOINTS_DIR", codec_bundle.parent)
    assert list_bundles() == ["bundle"] and find_bundle("bundle") == codec_bundle
    assert lasting_name("bundle") == "bundle" and lasting_name("owner/name") == "owner/name"
    monkeypatch.chdir(codec_bundle.parent.parent)
    assert lasting_name(codec_bundle.relative_to(Path.cwd())) == str(codec_bundle.resolve())
    monkeypatch.chdir(codec_bundle.parent)
    assert lasting_name("bundle") == "bundle", "the carried model is found before a folder of its name"
    with pytest.raises(InputError, match="did you mean 'bundle'"):
        find_bundle("bundel")
    with pytest.raises(InputError, match=r"no bundle\.json"):
        find_bundle(tmp_path / "made")


def test_a_whole_bundle_loads_saves_and_loads(random_bundle_dir: Path, tmp_path: Path) -> None:
    bundle = load_bundle(random_bundle_dir)
    assert [part.name for part in bundle.info.parts] == list(PARTS)
    assert "semantic_codes" not in vars(bundle) and bundle.semantic_codes is bundle.semantic_codes
    again = load_bundle(save_bundle(bundle, tmp_path / "copy"))
    assert again.info.path == tmp_path / "copy" and again.info.bytes == bundle.info.bytes
    for name in PARTS:
        own, theirs = getattr(bundle, name).state_dict(), getattr(again, name).state_dict()
        assert own.keys() == theirs.keys() and all(torch.equal(own[key], theirs[key]) for key in own)


def test_parts_that_do_not_fit_each_other_are_refused(random_bundle_dir: Path, tmp_path: Path) -> None:
    info = read_bundle(random_bundle_dir)
    slow = {
        part.name: replace(part, options={"frame_rate": 12.5} if part.name == "mert" else {}) for part in info.parts
    }
    folder = write_bundle(tmp_path / "slow", name="slow", license="MIT", parts=slow)
    with pytest.raises(InputError, match=r"12\.5 times a second"):
        load_bundle(folder)


# --- the hub ---


@pytest.mark.usefixtures("no_network")
def test_without_network_the_hub_is_one_sentence(codec_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_some_token")
    with pytest.raises(InputError, match="hub cannot be reached"):
        find_bundle("nobody-here/no-such-model")
    with pytest.raises(InputError, match="hub cannot be reached"):
        Codec.from_pretrained("nobody-here/no-such-codec")
    with pytest.raises(InputError, match="Cannot reach the hub"):
        push_to_hub(codec_bundle, "nobody-here/no-such-model")
    with pytest.raises(InputError, match="no name on the hub"):
        push_to_hub(codec_bundle, "a/b/c")


@pytest.mark.usefixtures("no_network")
def test_folders_and_bundles_need_no_network(codec_bundle: Path) -> None:
    codec = load_part(find_bundle(codec_bundle), "codec")
    assert codec.decode(codec.encode(torch.zeros(1, 1, 2400)), 2400).shape == (1, 1, 2400)


# --- files that somebody edited ---


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("file", "field", "meant"),
    [
        ("bundle.json", "licence", "license"),
        ("mert/config.json", "hiden_size", "hidden_size"),
        ("mert/preprocessor_config.json", "sampling_rat", "sampling_rate"),
        ("clap/config.json", "projection_dims", "projection_dim"),
        ("clap/preprocessor_config.json", "hop_lenght", "hop_length"),
        ("codec/config.json", "codebook_sise", "codebook_size"),
        ("semantic_codes/config.json", "width", "widths"),
        ("listener/config.json", "layer", None),
        ("semantic/config.json", "decodr", "decoder"),
        ("acoustic/config.json", "zzz", None),
    ],
)
def test_an_unknown_field_is_named(
    file: str, field: str, meant: str | None, random_bundle_dir: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "model"))
    edit_json(folder / file, **{field: 1})
    with pytest.raises(InputError, match=f"{file}.*'{field}'" + (f".*did you mean '{meant}'" if meant else "")):
        load_part(folder, file.partition("/")[0]) if "/" in file else read_bundle(folder)


def test_an_unknown_field_of_a_nested_config_is_named(random_bundle_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "model"))
    path = folder / "clap" / "config.json"
    edit_json(path, text_config={**json.loads(path.read_text())["text_config"], "num_hiden_layers": 2})
    with pytest.raises(InputError, match="'num_hiden_layers', did you mean 'num_hidden_layers'"):
        load_part(folder, "clap")
    edit_json(folder / "bundle.json", parts={"clap": {"path": "clap", "license": "x", "option": {}}})
    with pytest.raises(InputError, match="'option', did you mean 'options'"):
        read_bundle(folder)


def test_fields_of_published_configs_are_known(random_bundle_dir: Path, tmp_path: Path) -> None:
    """Those of MERT's own code, and what older releases of transformers wrote into every config."""
    from accompany.encoders.published import load_mert

    folder = Path(shutil.copytree(random_bundle_dir / "mert", tmp_path / "mert"))
    old = {"feature_extractor_cqt": False, "deepnorm": False, "torch_dtype": "float32", "auto_map": {}, "top_k": 50}
    edit_json(folder / "config.json", **old)
    assert load_mert(folder).dim == 16


@pytest.mark.parametrize("version", ["4.24.0", "99.0.0.dev0", None])
@pytest.mark.parametrize("file", ["mert/config.json", "clap/config.json", "clap/preprocessor_config.json",
                                  "codec/config.json"])  # fmt: skip
def test_fields_of_other_releases_are_ignored_with_a_word_and_misspelt_ones_refused(
    file: str, version: str | None, random_bundle_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As transformers ignores them; the installed release, which writes no such field, has not written them."""
    folder, part = Path(shutil.copytree(random_bundle_dir, tmp_path / "model")), file.partition("/")[0]
    edit_json(folder / part / "config.json", transformers_version=version)
    edit_json(folder / file, mask_everything=True, xla_device=None)
    if part == "clap":
        edit_json(folder / part / "config.json", text_config={
            **json.loads((folder / part / "config.json").read_text())["text_config"], "of_that_time": 1})  # fmt: skip
    with caplog.at_level("INFO"):
        load_part(folder, part)
    assert f"{file} has fields that have no effect here: mask_everything" in caplog.text
    known = {"mert": "hiden_size", "codec": "codebook_sise"}.get(part, "projection_dims")
    edit_json(folder / file, **{"hop_lenght" if "preprocessor" in file else known: 1})
    with pytest.raises(InputError, match="did you mean"):
        load_part(folder, part)


@pytest.mark.parametrize("content", ["[1]", "5", "null", "[" * 100_000, '{"a": ' * 100_000, "9" * 10_000, "\ud800"])
@pytest.mark.parametrize("file", ["bundle.json", "mert/config.json", "semantic/config.json", "clap/tokenizer.json"])
def test_json_of_another_kind_is_one_sentence(file: str, content: str, random_bundle_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "model"))
    (folder / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as error:
        load_part(folder, file.partition("/")[0]) if "/" in file else read_bundle(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", PARTS)
def test_a_weight_that_is_no_number_is_named(part: str, value: float, random_bundle_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_bundle_dir, tmp_path / "model"))
    state = read_state(folder / part / WEIGHTS)
    name = next(name for name, tensor in reversed(state.items()) if tensor.is_floating_point() and tensor.numel())
    state[name].view(-1)[-1] = value
    save_state(state, folder / part / WEIGHTS, {"format": "pt"})
    with pytest.raises(InputError, match=rf"{part}/model\.safetensors are broken: '{re.escape(name)}' has values"):
        load_part(folder, part)


def test_large_weights_are_numbers(tmp_path: Path) -> None:
    save_state({"a": torch.full((4,), 3e38), "b": torch.full((9,), 6e4).half(), "n": torch.arange(3)}, tmp_path / "a")
    assert read_state(tmp_path / "a")["a"].sum() == torch.inf
    save_state({"a": torch.full((1,), 1e300, dtype=torch.float64)}, tmp_path / "a")
    with pytest.raises(InputError, match="'a' has values"):
        read_state(tmp_path / "a")
