"""MERT and CLAP from published checkpoints, with every key and field checked."""

from __future__ import annotations

from pathlib import Path

from accompany.common.config import read_mapping
from accompany.common.published import check_fields, load_transformers, original_file
from accompany.common.saving import save_transformers
from accompany.common.weights import PathLike, resolve_folder
from accompany.encoders.clap import Clap
from accompany.encoders.mert import Mert
from accompany.errors import InputError

_MERT_FIELDS = (
    "do_normalize", "feature_extractor_type", "feature_size", "padding_side", "padding_value", "processor_class",
    "return_attention_mask", "sampling_rate",
)  # fmt: skip
_CLAP_FIELDS = ("chunk_length_s", "feature_extractor_type", "n_fft", "processor_class")


def load_mert(
    path_or_id: PathLike, *, layer: int | None = None, frame_rate: float = 25.0, license: str | None = None
) -> Mert:
    """Load a MERT: a folder or hub id. InputError where files are missing or broken, or as `Mert` says."""
    from transformers import HubertModel

    folder = resolve_folder(path_or_id)
    check_fields(path_or_id, "preprocessor_config.json", _MERT_FIELDS)
    sample_rate, normalize = _read_preprocessor(folder)
    model = load_transformers(HubertModel, path_or_id, license=license)
    return Mert(model, sample_rate=sample_rate, layer=layer, frame_rate=frame_rate, normalize=normalize)


def load_clap(path_or_id: PathLike, *, license: str | None = None) -> Clap:
    """Load a CLAP: a folder, a hub id, or a `.pt` of the package `laion-clap`.

    A folder has the network, tokenizer and spectrogram settings. Beside a `.pt` lies RoBERTa's tokenizer (`vocab.json`
    and `merges.txt`, or `tokenizer.json`), in its folder or in `roberta-base`; where it does not, it comes from the hub
    id FacebookAI/roberta-base. InputError where files are missing or broken.
    """
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    original = original_file(path_or_id, ".pt")
    if original is not None:
        from accompany.encoders.originals import load_laion_clap

        return Clap(*load_laion_clap(original, license))
    folder = resolve_folder(path_or_id)
    model = load_transformers(ClapModel, path_or_id, license=license)
    check_fields(path_or_id, "preprocessor_config.json", {*ClapFeatureExtractor().to_dict(), *_CLAP_FIELDS})
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers' own errors are plain exceptions
        raise InputError(
            f"{path_or_id} lacks CLAP's tokenizer or preprocessor_config.json, or they are broken; copy all files "
            "of the checkpoint."
        ) from error
    return Clap(model, tokenizer, extractor)


def save_clap(clap: Clap, folder: PathLike) -> None:
    """Write network (float32), tokenizer and spectrogram settings as `load_clap` reads them."""
    save_transformers(clap.model, folder)
    clap._tokenizer.save_pretrained(folder)
    clap._extractor.save_pretrained(folder)


def _read_preprocessor(folder: Path) -> tuple[int, bool]:
    """Sample rate and whether clips are normalised, from the preprocessor's config or the model's."""
    for name, key in (("preprocessor_config.json", "sampling_rate"), ("config.json", "sample_rate")):
        if (folder / name).is_file():
            values = read_mapping(folder / name)
            if key in values:
                return int(values[key]), bool(values.get("do_normalize", False))
    raise InputError(f"{folder} states no sampling_rate in preprocessor_config.json; add the file of the checkpoint.")
