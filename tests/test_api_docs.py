"""The reference of the Python API: docs/api.md runs, its table is that of the code, docstrings say what they must."""

from __future__ import annotations

import dataclasses
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import sing

import accompany
from accompany import api, audio
from accompany.generation.settings import CONTROLS, Settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CLASSES = (accompany.Band, accompany.Take, accompany.Sound)
SEE_ALSO = re.compile(r"\bas (in|there|`)|rrors (are )?as\b|; as `")
"""Where the docstring of another method says the rest."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[-1][:40])
def test_examples_run(example: str, band: accompany.Band, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "Sound(" in example:
        pytest.importorskip("pyloudnorm"), pytest.importorskip("mido")
    monkeypatch.chdir(tmp_path)
    audio.write("vocals.wav", sing(3.0), 44100)
    small = accompany.Band(dataclasses.replace(band.bundle, info=dataclasses.replace(band.bundle.info, name="tiny")))
    monkeypatch.setattr(api, "load", lambda name, **more: small)
    assert "assert" in example or "raise" in example
    exec(compile(example, "docs/api.md", "exec"), {})


def test_the_page_has_every_public_name_and_every_control() -> None:
    assert len(EXAMPLES) >= 8
    for name in accompany.__all__:
        assert name.startswith("_") or f"`accompany.{name}" in PAGE, name
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.partition("## Settings")[2], re.MULTILINE))
    assert list(rows) == [field.name for field in dataclasses.fields(Settings)]
    for name, control in CONTROLS.items():
        assert control.help in rows[name].replace("\\|", "|"), name
        if control.low is not None and name != "seed":
            assert f" {control.low:,} to {control.high:,} {control.unit}".rstrip() in rows[name], name


def methods() -> Iterator[Any]:
    """Public functions that take something, with their names."""
    yield pytest.param(accompany.load, id="load")
    for cls in CLASSES:
        for name, member in vars(cls).items():
            function = getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(function) and len(parameters(function)) > 0:
                yield pytest.param(function, id=f"{cls.__name__}.{name}")


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


@pytest.mark.parametrize("function", methods())
def test_docstrings_name_arguments_and_errors(function: Any) -> None:
    doc = inspect.getdoc(function) or ""
    missing = [name for name in parameters(function) if not re.search(rf"\b{name}\b", doc, re.IGNORECASE)]
    assert not missing
    assert "InputError" in doc or SEE_ALSO.search(doc) or "no error" in doc or "nothing is raised" in doc


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_attributes_have_docs(cls: type) -> None:
    doc = inspect.getdoc(cls) or ""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    assert not [field.name for field in fields if not re.search(rf"\b{field.name}\b", doc)]
    assert all(inspect.getdoc(member) for name, member in vars(cls).items() if isinstance(member, property))


def test_the_reference_is_written(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("pdoc")
    runpy.run_path(str(ROOT / "docs" / "reference.py"))["write"](tmp_path)
    page = (tmp_path / "accompany.html").read_text(encoding="utf-8")
    for name in ("load", "Band.generate", "Take.save_mix", "Sound.loudness_lufs", "Settings.bpm", "InputError"):
        assert f'id="{name}"' in page, name
    assert (tmp_path / "accompany" / "music" / "plan.html").is_file()
    assert "Accompany one vocal of any length" in page and "Arguments:" in page
    assert not [str(each.message) for each in recwarn if "does not resolve" in str(each.message)]
