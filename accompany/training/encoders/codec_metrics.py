"""Reconstruction metrics of a codec: chroma cosine, onset correlation, SI-SDR on clips never trained on."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import EncodecModel

from accompany.training.encoders.losses import chroma_cosine, onset_correlation, si_sdr_db
from accompany.training.encoders.quantizer import ResidualCodebooks


@torch.no_grad()
def reconstruction_metrics(
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
    output, rate = torch.cat(outputs), model.config.sampling_rate
    return {
        "chroma_cosine": float(chroma_cosine(output, clips, rate).mean()),
        "onset_correlation": float(onset_correlation(output, clips, rate).mean()),
        "si_sdr_db": float(si_sdr_db(output, clips).mean()),
    }
