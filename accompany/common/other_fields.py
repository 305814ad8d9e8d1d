"""Field names of JSON files: unknown ones are refused in our own files, and mostly logged in published ones.

`transformers` keeps a field that it does not know as an attribute that nothing reads, and each of its releases writes
other ones. So a published file loads with whatever its release wrote, and a line says which of it has no effect. What
stands in a file of the installed release, which knows every field that it writes, and what is but a misspelling of a
known field, somebody has put there, and it would be ignored.
"""

from __future__ import annotations

import difflib

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


def sort_out(fields: list[str], known: set[str]) -> tuple[list[str], list[str], set[str]]:
    """Of fields that a class does not list: those nobody wrote, which of them are misspelt, and all that are known."""
    listed = {*known, *_OLD_FIELDS.split()}
    unknown = [field for field in fields if field not in listed]
    near = [difflib.get_close_matches(field, sorted(listed), n=1, cutoff=_MISSPELT) for field in unknown]
    return unknown, [field for field, found in zip(unknown, near, strict=True) if found], listed
