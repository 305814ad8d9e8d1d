"""Field names of JSON files: unknown ones are refused in our own files, and mostly logged in published ones.

`transformers` keeps a field that it does not know as an attribute that nothing reads, and each of its releases writes
other ones. So a published file loads with whatever its release wrote, and a line says which of it has no effect. What
stands in a file of the installed release, which knows every field that it writes, and what is but a misspelling of a
known field, somebody has put there, and it would be ignored.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accompany.common.config import did_you_mean, read_json
from accompany.errors import InputError

CONFIG_NAME = "config.json"

PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)

_MISSPELT = 0.9
"""Likeness from which on an unknown field is a known one misspelt; fields of old releases stay below it."""
# Fields of published configs that current transformers no longer lists, and those of MERT's own code, in which its
# released networks are plain HuBERT.
_OLD_FIELDS = """
    _attn_implementation_autoset _attn_implementation_internal
    _name_or_path add_cross_attention architectures attn_implementation auto_map bad_words_ids begin_suppress_tokens
    bos_token_id chunk_size_feed_forward classifier_dropout cross_attention_hidden_size decoder_start_token_id
    diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id fusion_num_hidden_layers
    gradient_checkpointing id2label is_decoder is_encoder_decoder label2id length_penalty max_length min_length
    model_type name_or_path no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences
    output_attentions output_hidden_states output_scores pad_token_id position_embedding_type prefix problem_type
    pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id
    suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings
    tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16 use_cache xla_device
    attention_relax deepnorm feature_extractor_cqt feature_extractor_cqt_bins label_rate sample_rate
    _commit_hash enable_patch_fusion fusion_hidden_size hidden_size num_attention_heads num_hidden_layers
"""


def read_mapping(path: PathLike) -> dict[str, Any]:
    """The names and values of a JSON file; InputError names it when it is missing, broken or holds something else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold names with values, as accompany wrote it; use a whole copy of the model.")
    return content


def refuse_unknown_fields(path: PathLike, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError that names the first field of a file that is not known, and what it may have meant."""
    known = sorted(known)
    for field in given:
        if field not in known:
            raise InputError(f"{path} has an unknown field '{field}'{did_you_mean(field, known) or '; take it out.'}")


def check_config(schema: Any, path_or_id: PathLike) -> None:
    """Check the fields of a `transformers` model's config, and those of the configs inside it, as `check_fields`."""
    content = check_fields(path_or_id, CONFIG_NAME, _known_fields(schema))
    for name, part in schema.sub_configs.items():
        if isinstance(content.get(name), dict):
            _check(Path(os.path.expanduser(path_or_id)), CONFIG_NAME, content[name], _known_fields(part))


def check_fields(path_or_id: PathLike, name: str, known: Iterable[str]) -> dict[str, Any]:
    """The content of a file `name` in the published format; empty without one, and for a hub id.

    Nobody has edited the files of a hub id. Of a folder's, the fields that have no effect are logged.

    Raises:
        InputError: the file is broken, or has a field (named) that is a misspelt one, or one that the installed
            `transformers`, which the folder's config names as its writer, does not write.
    """
    folder = Path(os.path.expanduser(path_or_id))
    if not (folder / name).is_file():
        return {}
    content = read_mapping(folder / name)
    _check(folder, name, content, known)
    return content


def _check(folder: Path, name: str, content: dict[str, Any], known: Iterable[str]) -> None:
    known = sorted(known)
    unknown = [field for field in content if field not in known]
    if not unknown:
        return
    misspelt = [field for field in unknown if difflib.get_close_matches(field, known, n=1, cutoff=_MISSPELT)]
    refuse_unknown_fields(folder / name, unknown if _is_current(folder) else misspelt, known)
    _log.info("%s has fields that have no effect here: %s.", folder / name, ", ".join(unknown)[:200])


def _is_current(folder: Path) -> bool:
    """Whether the installed release of `transformers` wrote the files of a folder."""
    import transformers

    config = folder / CONFIG_NAME
    return config.is_file() and read_mapping(config).get("transformers_version") == transformers.__version__


def _known_fields(schema: Any) -> set[str]:
    return {*schema().to_dict(), *schema.attribute_map, *_OLD_FIELDS.split()}
