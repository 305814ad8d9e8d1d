"""Several takes of one vocal, which is analyzed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from accompany.common.progress import Progress
from accompany.generation.pipeline import VocalAnalysis, accompany_analyzed, analyze, features_to_plan, perform
from accompany.generation.planning import make_plan
from accompany.generation.settings import Settings
from accompany.generation.take import Made
from accompany.models.pretrained import Bundle
from accompany.music.plan import Plan

if TYPE_CHECKING:
    from accompany.models.llambada import LlambadaBundle


def perform_each(
    bundle: Bundle | LlambadaBundle, vocal: np.ndarray, settings: Sequence[Settings], progress: Progress | None = None
) -> Iterator[tuple[Made, Tensor | None]]:
    """Make accompaniments of one vocal, one after the other, with its features where the model has them.

    The settings may differ in what is drawn (seed, temperature), not in what the plan depends on: the vocal is analyzed
    once. Where its likeliest reading is doubtful and none is asked for, several takes spread over the readings.
    """
    if not isinstance(bundle, Bundle):
        for index, each in enumerate(settings):
            yield perform(bundle, [vocal], [each], share_of(progress, index, len(settings)))[0], None
        return
    own, model = analyze(bundle, vocal, settings[0]), bundle
    plans = [own.plan] * len(settings)
    if len(settings) > 1 and settings[0].reading is None:
        from accompany.generation.readings import spread

        plans = spread(own.plan, len(settings), lambda number: _plan_of(model, own, settings[0], number))
    for index, (plan, each) in enumerate(zip(plans, settings, strict=True)):
        analysis, report = VocalAnalysis(own.features, plan), share_of(progress, index, len(settings))
        yield accompany_analyzed(bundle, [vocal], [analysis], [each], report)[0], own.features


@torch.inference_mode()
def _plan_of(bundle: Bundle, analysis: VocalAnalysis, settings: Settings, reading: int) -> Plan:
    """Another reading of a vocal analyzed before."""
    features = features_to_plan(bundle, analysis.features, settings)
    return make_plan(bundle.listener, features, dataclasses.replace(settings, reading=reading))


def share_of(progress: Progress | None, done: int, total: int) -> Progress | None:
    """A callback for one part of `total`, of which `done` are over, that reports the share of all; None for None."""
    return None if progress is None else lambda share: progress((done + share) / total)
