"""LLambada import (`accompany import llambada`): published files (arXiv 2411.01661) as a model.

    llambada.transformer.77000.pt   semantic stage
    coarse.transformer.17400.pt     coarse stage
    clap.rvq.950_no_fusion.pt       residual codes of CLAP's embedding (the numbers of all three may differ)
    kmeans.joblib                   centroids of MERT's states
    630k-audioset-best.pt           LAION-CLAP
    MERT-v0/                        MERT, or from the hub: m-a-p/MERT-v0
    encodec_24khz/ or *.th          EnCodec, or from the hub: facebook/encodec_24khz
    roberta-base/                   the tokenizer of LAION-CLAP, or from the hub: FacebookAI/roberta-base

Everything is copied into the model, which needs none of these afterwards.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from accompany.common.config import write_json
from accompany.common.files import part_beside, remove_part, require_writable
from accompany.common.folders import writing_into
from accompany.common.pickles import read_kmeans, read_state
from accompany.common.published import original_file
from accompany.common.saving import make_folder, save_module, save_transformers
from accompany.common.weights import PathLike, load_state, refuse_differences
from accompany.encoders.codec import Codec
from accompany.encoders.published import load_clap, load_mert, save_clap
from accompany.encoders.semantic_codes import SemanticCodes, SemanticCodesConfig
from accompany.errors import InputError
from accompany.models.importing.token_stage import convert_token_stage
from accompany.models.parts import PartInfo
from accompany.models.pretrained import load_bundle
from accompany.models.writing import write_bundle

_MERT, _MERT_ID = "MERT-v0", "m-a-p/MERT-v0"
_CODEC, _CODEC_ID = "encodec_24khz", "facebook/encodec_24khz"
_CLAP = "630k-audioset-best.pt"
_MERT_LAYER, _MERT_RATE = 7, 50.0
_LICENSES = {"mert": "CC-BY-NC-4.0", "codec": "MIT", "clap": "not stated (its code: CC0-1.0)"}
_OWN_LICENSE, _WHOLE_LICENSE = "Apache-2.0", "CC-BY-NC-4.0"
# Training buffers of residual codebooks: counts and running sums, unused afterwards.
_RVQ_TRAINING = re.compile(r"layers\.\d+\._codebook\.(initted|cluster_size|embed_avg)|(layers\.\d+\.)?zero")


def import_llambada(checkpoint_dir: PathLike, out_dir: PathLike) -> Path:
    """Turn the published files in `checkpoint_dir` into the model `out_dir`, all of it or nothing.

    Raises:
        InputError: a file is missing, broken or asks for more than tensors; keys are missing, left over or misshapen
            (named); the parts do not fit each other; the hub cannot be reached for what is not here; no place to write.
    """
    source, out_dir = Path(os.path.expanduser(checkpoint_dir)), Path(out_dir)
    if not source.is_dir():
        raise InputError(f"There is no folder {source}; name the one with LLambada's published files.")
    if out_dir.exists() and (out_dir.is_file() or any(out_dir.iterdir())):
        raise InputError(f"{out_dir} is there already; name a new or empty folder.")
    for each in (out_dir, out_dir.parent):
        require_writable(each)
    make_folder(out_dir.parent)
    folder = part_beside(out_dir)
    with writing_into(out_dir), ExitStack() as stack:
        folder.mkdir()
        stack.callback(remove_part, folder)
        options = _convert(source, folder)
        parts = {
            name: PartInfo(name, folder / name, _LICENSES.get(name, _OWN_LICENSE), given)
            for name, given in options.items()
        }
        made = folder / "model"
        write_bundle(made, name=out_dir.name, license=_WHOLE_LICENSE, parts=parts, kind="llambada")
        load_bundle(made)  # refuses parts that do not fit each other
        if out_dir.exists():
            out_dir.rmdir()
        made.rename(out_dir)
    return out_dir


def _convert(source: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Write every part as a folder in `folder`; returns their names with the options that their loaders need."""
    # The files that only LLambada has come first: where one is missing, nothing has been downloaded yet.
    semantic, coarse = (_only(source, f"{name}.transformer.*.pt") for name in ("llambada", "coarse"))
    clap_codes = _convert_rvq(_only(source, "clap.rvq.*.pt"))
    semantic_codes = _convert_kmeans(_only(source, "kmeans.joblib"))
    n_codebooks = 0
    for name, path in (("token_semantic", semantic), ("token_coarse", coarse)):
        stage = convert_token_stage(read_state(path), path)
        save_module(stage, stage.config, folder / name, half=False)
        n_codebooks = stage.config.codebooks[-1]
    clap_codes.save_pretrained(folder / "clap_codes")
    semantic_codes.save_pretrained(folder / "semantic_codes")
    save_clap(load_clap(_only(source, _CLAP), license=_LICENSES["clap"]), folder / "clap")
    codec = Codec.from_pretrained(_here_or_hub(source, _CODEC, _CODEC_ID, ".th"), license=_LICENSES["codec"])
    save_transformers(codec.model, folder / "codec")
    mert_options: dict[str, Any] = {"layer": _MERT_LAYER, "frame_rate": _MERT_RATE}
    mert = load_mert(_here_or_hub(source, _MERT, _MERT_ID), license=_LICENSES["mert"], **mert_options)
    save_transformers(mert.model, folder / "mert")
    preprocessor = {"sampling_rate": mert.sample_rate, "do_normalize": False}
    write_json(folder / "mert" / "preprocessor_config.json", preprocessor)
    plain: dict[str, dict[str, Any]] = {
        name: {} for name in ("clap", "semantic_codes", "clap_codes", "token_semantic", "token_coarse")
    }
    return plain | {"mert": mert_options, "codec": {"n_codebooks": n_codebooks}}


def _convert_kmeans(path: Path) -> SemanticCodes:
    """The centroids, on states that are normalised first."""
    centroids = read_kmeans(path)
    codes, width = centroids.shape
    config = SemanticCodesConfig(
        dim=width, sizes=(codes,), widths=(width,), frame_rate=_MERT_RATE, normalized=True, residual=False
    )
    made = SemanticCodes(config)
    load_state(made, {"streams.0.centroids": centroids}, path)
    return made


def _convert_rvq(path: Path) -> SemanticCodes:
    """Residual codes as `vector_quantize_pytorch` stores them, its older form [V, D] or the newer [1, V, D]."""
    state = {name: tensor for name, tensor in read_state(path).items() if not _RVQ_TRAINING.fullmatch(name)}
    levels = 1 + max((int(found[1]) for name in state if (found := re.match(r"layers\.(\d+)\.", name))), default=0)
    names = [f"layers.{level}._codebook.embed" for level in range(levels)]
    books = {name: state[name][0] if state[name].dim() == 3 else state[name] for name in names if name in state}
    shapes = Counter(tuple(book.shape) for book in books.values() if book.dim() == 2)
    usual = shapes.most_common(1)[0][0] if shapes else (1, 1)
    misshapen = [name for name, book in books.items() if tuple(book.shape) != usual]
    refuse_differences(path, set(names) - state.keys(), state.keys() - set(names), misshapen)
    size, width = usual
    made = SemanticCodes(
        SemanticCodesConfig(dim=width, sizes=(size,) * levels, widths=(width,) * levels, residual=True, frame_rate=1.0)
    )
    load_state(made, {f"streams.{level}.centroids": books[name].float() for level, name in enumerate(names)}, path)
    return made


def _only(source: Path, pattern: str) -> Path:
    found = sorted(source.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"{source} must hold one file {pattern} of LLambada (it has: {names}); see accompany import -h."
        )
    return found[0]


def _here_or_hub(source: Path, name: str, hub_id: str, suffix: str = "") -> PathLike:
    """The folder `name` in the checkpoint folder, or the one file of an original package there, or the hub id."""
    if (source / name).is_dir():
        return source / name
    return (original_file(source, suffix) if suffix else None) or hub_id
