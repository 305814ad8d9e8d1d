"""The house: a quick import, a light core, one direction of imports, small functions, pinned versions."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "accompany"
HEAVY = "torch transformers lightning demucs ray fastapi sklearn librosa scipy matplotlib soundfile numpy omegaconf"
FORBIDDEN = {
    "stages": ("data", "cli", "api", "evaluation", "train"),
    "encoders": ("stages", "cli", "api", "train"),
    "data": ("cli", "api", "evaluation"),
    "": ("cli",),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_importing_costs_nothing():
    code = (
        "import sys, time, json; start = time.process_time(); import accompany, accompany.cli; "
        "print(json.dumps([time.process_time() - start, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = json.loads(done.stdout)
    assert seconds < 1.0 and not set(HEAVY.split()) & set(loaded)


def test_help_needs_no_heavy_library():
    code = (
        "import sys; from accompany.cli import main\n"
        f"try: main(['--help'])\nfinally: assert not set('{HEAVY}'.split()) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_the_links_at_the_top_are_relative():
    for name in ("stages", "data", "configs"):
        assert os.readlink(ROOT / name) == f"accompany/{name}"


def test_only_one_package_is_installed():
    setuptools = pytest.importorskip("setuptools")
    found = setuptools.find_packages(str(ROOT), include=["accompany", "accompany.*"])
    assert found and all(name.split(".")[0] == "accompany" for name in found)
    assert {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in modules()} == set(found)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path):
    folder = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else ""
    banned = FORBIDDEN.get(folder, FORBIDDEN[""])
    if path.name in ("__main__.py", "cli.py"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name.split(".")[:1] != ["accompany"] or not set(name.split(".")[1:2]) & set(banned), name


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_functions_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert "\u2014" not in text, "write a colon, a comma or a full stop instead of a long dash"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 65, f"{node.name} has {length} lines"


def test_every_dependency_is_pinned_to_a_known_version():
    # Out of the file: what is installed may be of an older one.
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {_plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    originals = ("encodec", "laion-clap")  # for comparisons only, in environments of their own
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra not in originals]
    assert {_plain(line) for lines in [project["dependencies"], *extras] for line in lines} <= pinned


def test_the_licence_is_there():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert importlib.metadata.metadata("accompany")["License-Expression"] == "Apache-2.0"


def _plain(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement)[0].lower().replace("_", "-")
