"""Folders that cannot be written, full disks, runs that meet or are killed: a sentence, and nothing half done."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import sing

from accompany import audio
from accompany.cli import main
from accompany.common.config import read_json, write_json
from accompany.common.processes import folder_lock
from accompany.data.songs import write
from accompany.data.songs.espeak import speak
from accompany.errors import InputError
from accompany.generation.project import Project

RUN = """
import contextlib, io, json, sys
from accompany.cli import main
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(words)
    print(json.dumps([code, said.getvalue()]))
"""


def _can_sing() -> bool:
    try:
        speak("la", "en-us")
    except InputError:
        return False
    return True


needs_voice = pytest.mark.skipif(not _can_sing(), reason="espeak-ng is not installed (extra synth)")


@pytest.fixture(scope="module")
def place(band, tmp_path_factory) -> Path:
    """A project, songs, and a folder that only an owner with rights can write."""
    root = tmp_path_factory.mktemp("place")
    vocal = root / "song.wav"
    audio.write(vocal, sing(1.0, 24000), 24000)
    project = Project.create(root / "project", vocal, "tiny")
    project.add(band.generate(vocal))
    project.add(band.generate(vocal, seed=1), "0001")
    for name in ("vocals", "accompaniment"):
        (root / "songs" / "a").mkdir(parents=True, exist_ok=True)
        shutil.copy(vocal, root / "songs" / "a" / f"{name}.wav")
    (root / "checkpoint").mkdir()
    (root / "closed").mkdir()
    return root


def test_folders_that_cannot_be_written_are_refused_before_the_work(place: Path) -> None:
    without_rights: list[str] = []
    if os.name != "posix":
        pytest.skip("rights of folders are those of POSIX here")
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to take that away")
        without_rights = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    closed, project, songs = place / "closed", place / "project", place / "songs"
    commands = [
        ["retake", project, "--from", "0", "--to", "0.5"],
        ["vary", project],
        ["extend", project, "--after", "1"],
        ["undo", project],
        ["takes", project, "--choose", "0001"],
        ["generate", place / "song.wav", "--project", closed / "p"],
        ["generate", place / "song.wav", "-o", closed / "a.wav"],
        ["prepare", songs, closed, "--stems"],
        ["prepare", songs, closed / "new", "--stems"],
        ["tokenize", songs, closed],
        ["tokenize", songs, closed / "new"],
        ["synth", closed, "--songs", "1"],
        ["synth", closed / "new", "--songs", "1"],
        ["bundle", closed, "--from", "tiny"],
        ["bundle", closed / "new", "--from", "tiny"],
        ["import", "llambada", place / "checkpoint", closed],
    ]
    folders = (closed, project, project / "takes")
    for folder in folders:
        folder.chmod(0o555)
    before = sorted(place.rglob("*"))
    try:
        words = json.dumps([[str(word) for word in command] for command in commands])
        done = subprocess.run([*without_rights, sys.executable, "-c", RUN, words], capture_output=True, text=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    if "setpriv:" in done.stderr:
        pytest.skip(f"rights cannot be taken away here ({done.stderr.strip()})")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(commands), done.stderr
    for command, (code, error) in zip(commands, said, strict=True):
        assert code == 2 and error.count("\n") == 1, (command, error)
        assert re.fullmatch(r"accompany: Cannot write into .*\(Permission denied\); choose .*\n", error), (
            command,
            error,
        )
    assert sorted(place.rglob("*")) == before


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("workers", ["1", "2"])
@needs_voice
def test_synth_on_a_full_disk_is_one_sentence(workers: str, full_disk: Path, capsys) -> None:
    options = ["--songs", "6", "--seconds", "8", "--sample-rate", "44100", "--voice-only", "--workers", workers]
    assert main(["synth", str(full_disk), *options]) == 2
    assert re.search(
        r"^accompany: The disk is full \(.*\); free some space and run again\.$", capsys.readouterr().err, re.M
    )
    whole = [path for path in full_disk.iterdir() if path.is_dir()]
    assert {path.name for path in full_disk.iterdir()} <= {"manifest.jsonl", *(path.name for path in whole)}
    for folder in whole:
        facts = read_json(folder / "song.json")
        assert audio.read(folder / "vocals.flac").samples.shape[-1] == facts["n_samples"]
    for line in (full_disk / "manifest.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("reserves", [True, False])
def test_packed_songs_that_do_not_fit_are_refused_before_the_work(
    reserves: bool, full_disk: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    """Where the system reserves room for a file, and where it does not, as on macOS."""
    pytest.importorskip("lightning")
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    for index in range(3):
        folder = tmp_path / "songs" / f"{index:06d}"
        folder.mkdir(parents=True)
        audio.write(folder / "accompaniment.flac", np.zeros((2, 4 * 44100), np.float32), 44100)
        write_json(folder / "song.json", {})
    command = ["train", "spectral_codec", f"songs=[{tmp_path / 'songs'}]", f"out={full_disk / 'codec'}", "held_out=1"]
    assert main(command) == 2
    assert re.search(r"^accompany: The disk is full \(.*\); free some space and", capsys.readouterr().err, re.M)
    assert list((full_disk / "codec" / "packed").iterdir()) == []


def test_a_project_on_a_full_disk_opens_as_before(place: Path, full_disk: Path, tmp_path: Path, capsys) -> None:
    folder = Path(shutil.copytree(place / "project", full_disk / "p"))
    project = Project.open(folder)
    take = project.take()
    with pytest.raises(InputError, match=r"The disk is full|space on the disk"):
        for _ in range(40):
            project.add(take, "0001")
    names = [path.name for path in (folder / "takes").iterdir()]
    assert project.current == Project.open(folder).current == max(names) and not [n for n in names if n[0] == "."]
    assert Project.open(folder).take().samples.shape == take.samples.shape
    with (full_disk / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError, match="No space"):
        while True:
            rest.write(bytes(512))
    before = (folder / "project.json").read_bytes()
    assert main(["takes", str(folder), "--choose", "0001"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "project.json").read_bytes() == before and Project.open(folder).entries()


# --- two at once ---


@needs_voice
def test_a_second_synth_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    half = tmp_path / ".000001.part"
    half.mkdir()
    options = {"seconds": 4.0, "sample_rate": 8000, "voice_only": True}
    with folder_lock(tmp_path, "accompany synth"):
        with pytest.raises(InputError, match=rf"Another run works in .*accompany synth, process {os.getpid()}"):
            write.synthesise(tmp_path, 1, 7, **options)
        assert half.is_dir()
    write.synthesise(tmp_path, 1, 7, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000", "manifest.jsonl"]


# --- what a kill leaves ---


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_of(session: int) -> list[int]:
    """Those of a session that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are looked for in /proc")
@needs_voice
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_synth(how: signal.Signals, tmp_path: Path) -> None:
    words = ["synth", str(tmp_path / "s"), "--songs", "50", "--seconds", "60", "--voice-only", "--workers", "2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "accompany", *words], start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(list(tmp_path.glob("s/.*.part"))) + len(list(tmp_path.glob("s/0*"))) > 0, 120)
        run.send_signal(how)
        wait_for(lambda: run.poll() is not None and not processes_of(run.pid), 5)
    finally:
        run.kill()
        run.wait()
    with folder_lock(tmp_path / "s", "a test"):  # the system has freed it
        pass


def test_weights_of_eight_bits_are_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    import torch

    from accompany.common.saving import eight_bit_state, save_state
    from accompany.common.weights import read_state

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 48, 5, generator=generator) * torch.logspace(-4, 1, 64)[:, None, None]
    state = {"a.weight": weight, "a.bias": torch.randn(64, generator=generator), "zero.weight": torch.zeros(200, 100)}
    stored = eight_bit_state(state)
    assert stored["a.weight"].dtype == torch.int8 and stored["a.bias"].dtype == torch.float16
    save_state(stored, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_size < 37_500
    found = read_state(tmp_path / "model.safetensors")
    assert found.keys() == state.keys() and found["a.weight"].shape == weight.shape
    error = (found["a.weight"] - weight).flatten(1).abs().amax(dim=1) / weight.flatten(1).abs().amax(dim=1)
    assert float(error.max()) < 0.006 and not found["zero.weight"].any()
    save_state({"b.weight.row_scales": torch.ones(3)}, tmp_path / "alone.safetensors")
    assert list(read_state(tmp_path / "alone.safetensors")) == ["b.weight.row_scales"]
