"""The house: a quick import, a light core, one direction of imports, small functions, pinned versions."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Container
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "accompany"
HEAVY = "torch transformers lightning demucs ray fastapi sklearn librosa scipy matplotlib soundfile numpy omegaconf"
RANKS = (
    "errors < common < audio, music < encoders, sound, stages < models < generation, data < api < evaluation, serve "
    "< training < commands < cli < __main__"
)
"""Rooms of the package, low to high: a room imports from lower ones only. `import accompany` counts as api."""


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


def test_rooms_import_downwards_only():
    """Lazy imports and those for types count; rooms of equal rank do not import each other."""
    rank = {room: place for place, rooms in enumerate(RANKS.split("<")) for room in rooms.replace(",", " ").split()}
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()} == {*rank, "__init__"}
    upward = []
    for name, imported in import_graph().items():
        room = _room(name)
        for other in imported if room else ():
            if _room(other) != room and rank[_room(other) or "api"] >= rank[room]:
                upward.append(f"{name} imports {other}")
    assert not upward


def test_imports_have_no_circle():
    graph = import_graph()
    while free := [name for name, imported in graph.items() if not imported & graph.keys()]:
        graph = {name: imported for name, imported in graph.items() if name not in free}
    assert not graph


def import_graph() -> dict[str, set[str]]:
    """Each module with the modules of the package that it imports anywhere."""
    names = {_module_name(path): path for path in modules()}
    return {name: _imported(ast.parse(path.read_text(encoding="utf-8")), names) for name, path in names.items()}


def _imported(tree: ast.AST, names: Container[str]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write absolute imports"
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {member if member in names else node.module or "" for member in members}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in names}


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _room(name: str) -> str:
    """The room of a module, "" for the package itself."""
    return name.partition(".")[2].partition(".")[0]


def test_functions_are_small():
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert "\u2014" not in text, f"{path}: write a colon, a comma or a full stop instead of a long dash"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 65, f"{path}: {node.name} has {length} lines"


def test_a_class_name_has_one_meaning():
    homes: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.strip("_"), []).append(str(path))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


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
