"""The instrumentation that prompts state in words, and its vector."""

from __future__ import annotations

import numpy as np
import pytest

from accompany.data.songs.instruments import INSTRUMENTS
from accompany.music.instrumentation import DENSITIES, DIM, FAMILIES, Instrumentation, read_instrumentation


@pytest.mark.parametrize(
    ("prompt", "present", "absent", "density"),
    [
        ("", (), (), None),
        ("warm jazz trio, brushed drums, walking bass", ("drums", "bass"), (), None),
        ("Acoustic GUITAR and soft bass, no drums", ("guitar", "bass"), ("drums",), None),
        ("no drums or percussion, just warm pads", ("pad",), FAMILIES, None),
        ("without any synths, but with a string quartet", ("strings",), ("synth",), None),
        ("no drums, guitar", ("guitar",), ("drums",), None),
        ("no drums but a loud banjo", ("banjo",), ("drums",), None),
        ("don’t use piano", (), ("piano",), None),
        ("electric piano", ("electric piano",), (), None),
        ("bass drum and bass clarinet", ("drums", "woodwinds"), (), None),
        ("steel drums on the beach", ("steel drums",), (), None),
        ("drum and bass, dense", (), (), "busy"),
        ("sparse piano", ("piano",), (), "sparse"),
        ("full band: drums, bass, guitar and keys", ("drums", "bass", "guitar"), (), "full"),
        ("guitarra y pianoforte", (), (), None),  # other words that hold a name
        ("drumless lullaby", (), ("drums",), None),
        ("🎹 piano 钢琴", ("piano",), (), None),
        ("no piano, then later piano", ("piano",), (), None),
    ],
)
def test_prompts_are_read(prompt: str, present: tuple[str, ...], absent: tuple[str, ...], density: str | None) -> None:
    found = read_instrumentation(prompt)
    assert found.present == present and found.density == density
    assert set(found.absent) == set(absent) - set(present)


@pytest.mark.parametrize(
    "prompt", ["solo piano", "piano only", "just a grand piano", "only an old upright piano", "piano alone"]
)
def test_an_instrument_alone_excludes_all_others(prompt: str) -> None:
    found = read_instrumentation(prompt)
    assert found.present == ("piano",) and set(found.absent) == set(FAMILIES) - {"piano"}


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_word_of_the_captions_is_read_as_its_family(name: str) -> None:
    instrument = INSTRUMENTS[name]
    for word in (name, *instrument.words):
        assert read_instrumentation(f"a band with {word}").present[:1] == (instrument.family,), word
        assert instrument.family in read_instrumentation(f"a band, no {word}").absent, word


def test_the_vector_has_a_column_for_every_fact() -> None:
    vector = Instrumentation(("drums",), ("synth",), "busy").vector()
    assert vector.shape == (DIM,) and vector.dtype == np.float32 and vector.sum() == 3
    on = {*np.flatnonzero(vector)}
    assert on == {0, 2 * len(FAMILIES) - 1, 2 * len(FAMILIES) + DENSITIES.index("busy")}
