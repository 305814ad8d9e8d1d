"""How well a codec gives back what it is given: chroma cosine, onset correlation, SI-SDR on clips never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import EncodecModel

from accompany.encoders.training.audio_dataset import find_songs, held_out_clips, split_songs
from accompany.encoders.training.losses import chroma_cosine, onset_correlation, si_sdr_db
from accompany.encoders.training.quantizer import ResidualCodebooks


def exported_figures(
    folder: str | Path, roots: Sequence[str | Path], *, held_out: int = 16, clip_s: float = 8.0
) -> dict[str, float]:
    """Figures of an exported model, through its own `encode` and `decode`, on the held-out songs of `roots`.

    Args:
        folder: what `train_codec` returned.
        roots: the folders of songs that it was trained on; the same songs are held out here.
    """
    model = EncodecModel.from_pretrained(folder, dtype=torch.float32).eval()
    rate = model.config.sampling_rate
    _, songs = split_songs(find_songs(roots), held_out)
    clips = held_out_clips(songs, sample_rate=rate, clip_s=clip_s)
    with torch.no_grad():
        outputs = [model(clip[None, None]).audio_values[0] for clip in clips]
    return _means(torch.cat(outputs), clips, rate)


@torch.no_grad()
def codec_figures(
    model: EncodecModel, clips: Tensor, codebooks: ResidualCodebooks | None, *, batch_size: int = 4
) -> dict[str, float]:
    """Means over `clips` `[N, T]` of chroma cosine, onset correlation and SI-SDR (dB).

    With `codebooks=None` the latents go to the decoder unquantised.
    """
    outputs = []
    for clip in clips.split(batch_size):
        latents = model.encoder(clip.unsqueeze(1))
        if codebooks is not None:
            latents = codebooks.decode(codebooks.encode(latents))
        outputs.append(model.decoder(latents).squeeze(1)[:, : clip.shape[1]])
    return _means(torch.cat(outputs), clips, model.config.sampling_rate)


def _means(output: Tensor, target: Tensor, sample_rate: int) -> dict[str, float]:
    return {
        "chroma_cosine": float(chroma_cosine(output, target, sample_rate).mean()),
        "onset_correlation": float(onset_correlation(output, target, sample_rate).mean()),
        "si_sdr_db": float(si_sdr_db(output, target).mean()),
    }
