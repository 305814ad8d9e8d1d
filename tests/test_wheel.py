"""The wheel: small, complete, and working from another folder, without this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import sing

import accompany
from accompany import audio

ROOT = Path(__file__).parents[1]
MOST_BYTES = 100_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `python -m build --wheel` makes it, of a copy, since a build leaves files beside its sources."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "accompany", folder / "accompany", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_the_wheel_holds_all_that_a_generation_needs_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    own = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "accompany").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert own <= names
    assert {name.split("/")[0] for name in names} == {"accompany", f"accompany-{accompany.__version__}.dist-info"}
    assert f"\nVersion: {accompany.__version__}\n" in metadata and "\nLicense-Expression: Apache-2.0\n" in metadata


def test_it_installs_and_generates_elsewhere(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    audio.write(elsewhere / "voice.wav", sing(1.0), 44100)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}  # before what is installed here
    command = [sys.executable, str(target / "bin" / "accompany")]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *words], cwd=elsewhere, env=environment, capture_output=True, text=True)

    assert run("--version").stdout == f"accompany {accompany.__version__}\n"
    done = run("generate", "voice.wav", "-p", "warm piano", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["model"] == "tiny"
    assert audio.info(elsewhere / "voice.accompaniment.wav").seconds == pytest.approx(1.0)
    where = subprocess.run([sys.executable, "-c", "import accompany; print(accompany.__file__)"], cwd=elsewhere,
                           env=environment, capture_output=True, text=True)  # fmt: skip
    assert where.stdout.startswith(str(target))


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## (?:\[?(\d+\.\d+\.\d+)\]?.*|Unreleased)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    numbers = [tuple(map(int, version.split("."))) for version in versions if version]
    assert numbers == sorted(numbers, reverse=True) and accompany.__version__ == ".".join(map(str, numbers[0]))
