"""Subjects of the benchmark by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from accompany.evaluation.speed.random_llambada import RandomLlambada
from accompany.evaluation.speed.subjects import BandSubject, Subject


def _band(name: str, device: str, precision: str) -> Subject:
    import accompany

    return BandSubject(accompany.load(name, device=device, precision=precision))


def _random_llambada(device: str, precision: str) -> Subject:
    return RandomLlambada(device, precision)


SUBJECTS: dict[str, Callable[[str, str], Subject]] = {"llambada-random": _random_llambada}
"""Subjects that are no model one could play with, by name; each is built for a device in a precision."""


def find_subject(name: str, device: str, precision: str = "auto") -> Subject:
    """The subject of this name, or the model: a bundled name, a folder or a hub id.

    Raises:
        InputError: there is none, or no such device or precision.
    """
    from accompany.common.devices import choose_device, choose_precision

    build, device = SUBJECTS.get(name, partial(_band, name)), choose_device(device)
    return build(device, choose_precision(precision, device))
