"""A Llama of the same sizes, decoded by the `transformers` library: what a step costs there."""

from __future__ import annotations

import statistics
import time

import torch

from accompany.evaluation.speed.subjects import Loop

_STEPS = 64


@torch.inference_mode()
def llama_step_s(loop: Loop, runs: int, device: str) -> float:
    """Median time of a step of `generate` with its cache, from random weights, at the loop's sizes, rows and frames.

    The steps timed see as many frames on average as those of the loop.

    Args:
        loop: whose depth, width, heads, vocabulary and frames count.
        runs: generations.
        device: where.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = loop.transformer
    n_before = max(round(sum(loop.frames) / len(loop.frames)) - _STEPS // 2, 1)
    config = LlamaConfig(
        hidden_size=sizes.width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.n_kv_heads,
        head_dim=sizes.width_of_head,
        intermediate_size=sizes.width_of_feed,
        vocab_size=loop.vocabulary,
        max_position_embeddings=max(sizes.max_frames, n_before + _STEPS + 2),
    )
    model = LlamaForCausalLM(config).eval().to(device)
    prompt = torch.zeros(loop.rows, n_before, dtype=torch.long, device=device)
    mask = torch.ones_like(prompt)

    def generate(steps: int) -> float:
        started = time.perf_counter()
        made = model.generate(
            prompt, attention_mask=mask, do_sample=True, min_new_tokens=steps, max_new_tokens=steps, pad_token_id=0
        )
        float(made.sum())  # waits for the device
        return time.perf_counter() - started

    generate(2)
    # A long run less a short one leaves out what a call costs once.
    return statistics.median((generate(_STEPS + 2) - generate(2)) / _STEPS for _ in range(runs))
