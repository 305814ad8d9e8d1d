"""The start: the garbage collector rests while a model loads, and no longer."""

import gc
from pathlib import Path

import pytest

import accompany
from accompany.errors import InputError
from accompany.starting import collection_rests


def test_collection_rests_and_goes_on_after_an_error() -> None:
    with collection_rests():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(InputError, match="no model"):
        accompany.load(Path("no") / "such" / "folder")
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with collection_rests():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
