"""Sessions for audio workstations: REAPER projects, labels, MIDI, and the folder as a whole."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import sing

from accompany import audio
from accompany.cli import main
from accompany.errors import InputError
from accompany.generation import session
from accompany.music.bars import BeatGrid
from accompany.music.plan import Plan
from accompany.sound.daw import SessionTrack, beat_labels, tempo_points, write_labels, write_reaper

pytestmark = pytest.mark.usefixtures("loaded_once")

STEADY = tuple(np.arange(17) * 0.5)
LATE = tuple(0.37 + np.arange(16) * 0.6)
DRIFTING = tuple(0.2 + np.cumsum(0.5 + 0.02 * np.sin(np.arange(20))))


def plan_of(beats: tuple[float, ...], first: int, beats_per_bar: int = 4) -> Plan:
    return Plan(
        beats_s=beats,
        downbeats_s=beats[first::beats_per_bar],
        beats_per_bar=beats_per_bar,
        chords=((0.0, beats[4], "C:maj"), (beats[4], beats[8], "A:min7")),
    )


def beats_of(points: list[tuple[float, float, int | None]], count: int) -> list[float]:
    """Times of beats that a workstation makes of tempo points."""
    times, beat_s = [], 0.0
    for _ in range(count):
        times.append(beat_s)
        bpm = next(bpm for start, bpm, _ in reversed(points) if start <= beat_s + 1e-6)
        beat_s += 60 / bpm
    return times


@pytest.mark.parametrize(("beats", "first", "per_bar"), [(STEADY, 0, 4), (LATE, 2, 3), (DRIFTING, 1, 4)])
def test_a_tempo_map_gives_the_beats_and_bars_of_the_plan(beats, first, per_bar):
    plan, seconds = plan_of(beats, first, per_bar), beats[-1]
    points = tempo_points(plan, seconds)
    grid = BeatGrid(plan, seconds)
    made = beats_of(points, len(grid.beats_s) - 1)
    np.testing.assert_allclose(made, grid.beats_s[:-1], atol=0.002)
    lead = len(grid.beats_s) - len([beat for beat in grid.beats_s if beat >= beats[0] - 1e-6])
    np.testing.assert_allclose(grid.beats_s[lead : lead + len(beats)], beats, atol=1e-6)
    metres = [(start, metre) for start, _, metre in points if metre]
    pickup = (lead + first) % per_bar
    assert metres[-1][1] == per_bar and metres[-1][0] == pytest.approx(grid.beats_s[pickup])
    assert [metre for _, metre in metres] == ([pickup] if pickup else []) + [per_bar]
    bars = {time: name for time, _, name in beat_labels(plan, seconds)}
    downbeat = next(name for time, name in bars.items() if time == pytest.approx(beats[first]))
    assert downbeat.endswith(".1")


def test_beats_that_are_alike_share_a_point():
    assert tempo_points(plan_of(STEADY, 0), 8.0) == [(0.0, 120.0, 4)]


def test_beats_before_the_song_do_not_count():
    plan = Plan(beats_s=(-0.7, -0.2, 0.3, 0.8, 1.3), downbeats_s=(-0.7, 1.3))
    grid = BeatGrid(plan, 1.5)
    assert grid.beats_s[0] == 0.0 and grid.beats_s[1] == pytest.approx(0.3)
    assert grid.pickup == 3


NAMES = ["my song", 'the "best"', "it's", "a 'b' \"c\"", "a 'b' \"c\" `d`", "two\nlines", "반주 伴奏", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_reaper_project_holds_any_name(name: str, tmp_path: Path):
    rpp = pytest.importorskip("rpp", reason="the reader of REAPER projects is not installed (extra test)")
    path = tmp_path / "song.rpp"
    tracks = [SessionTrack("vocals", "vocals.wav", 9.0), SessionTrack(name, "band.wav", 9.0)]
    write_reaper(path, plan_of(LATE, 2), 9.0, tracks, [(0.0, 4.0, name), (4.0, 12.0, "chorus")])
    project = rpp.loads(path.read_text(encoding="utf-8"))
    expected = name.replace("\n", " ").replace("`", "'" if "'" in name else "`")
    found = project.findall("TRACK")
    assert [track.find("NAME")[1] for track in found] == ["vocals", expected]
    item = found[1].find("ITEM")
    assert [item.find(tag)[1] for tag in ("POSITION", "LENGTH")] == ["0", "9"]
    assert item.find("SOURCE").attrib == ["WAVE"] and item.find("SOURCE").find("FILE")[1] == "band.wav"
    regions = [marker for marker in project.findall("MARKER") if marker[4] == "1"]
    assert [(row[1], row[2], row[3]) for row in regions] == [
        ("1", "0", expected), ("1", "4", ""), ("2", "4", "chorus"), ("2", "9", ""),
    ]  # fmt: skip
    assert [marker[3] for marker in project.findall("MARKER") if marker[4] == "0"] == ["C:maj", "A:min7"]
    points = project.find("TEMPOENVEX").findall("PT")
    assert float(points[-1][2]) == pytest.approx(100.0) and points[0][4] == str(4 * 65536 + 3)


def test_labels_are_lines_of_times_and_names(tmp_path: Path):
    write_labels(tmp_path / "a.txt", [(0.0, 1.5, "C:maj"), (1.5, 2.0, "a\tb")])
    assert (tmp_path / "a.txt").read_bytes() == b"0.000000\t1.500000\tC:maj\n1.500000\t2.000000\ta b\n"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    audio.write(tmp_path / "song.wav", sing(2.0, 44100), 44100)
    return tmp_path / "song.wav"


def test_a_session_is_a_folder_of_its_own(band, song: Path, tmp_path: Path):
    take = band.generate(str(song), seed=2, chords="C G", bpm=100)
    folder = session.save_session(take, tmp_path / "song.daw", sections=[(0.0, 2.0, "verse")])
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "vocals.wav", "band.wav", "song.rpp", "beats.txt", "chords.txt", "sections.txt", "song.mid",
    }  # fmt: skip
    for name in ("vocals.wav", "band.wav"):
        info = soundfile.info(folder / name)
        assert (info.frames, info.samplerate) == (88200, 44100)
    voice, recording = (soundfile.read(path)[0] for path in (folder / "vocals.wav", song))
    np.testing.assert_allclose(voice, recording, atol=1e-4)
    text = (folder / "song.rpp").read_text()
    assert set(re.findall(r'FILE "([^"]+)"', text)) == {"vocals.wav", "band.wav"}
    assert float(re.search(r"TEMPO (\S+) 4 4", text)[1]) == pytest.approx(100, abs=0.1)
    with pytest.raises(InputError, match="there already"):
        session.save_session(take, folder)
    mido = pytest.importorskip("mido")
    (marker,) = [message for message in mido.MidiFile(folder / "song.mid").tracks[0] if message.type == "marker"]
    assert marker.text == "verse"


def test_a_disk_that_fills_up_leaves_no_session(band, song: Path, tmp_path: Path, monkeypatch):
    take = band.generate(str(song), seed=2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "song.rpp")

    monkeypatch.setattr(session, "write_reaper", full)
    with pytest.raises(InputError, match="disk is full"):
        session.save_session(take, tmp_path / "song.daw")
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


def test_generate_writes_a_session_once(song: Path, random_bundle_dir: Path, capsys, monkeypatch):
    monkeypatch.chdir(song.parent)
    words = ["generate", "song.wav", "--daw", "--json", "--model", str(random_bundle_dir)]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["daw"] == "song.daw"
    assert Path("song.daw/song.rpp").is_file()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(words) == 2
    assert "song.daw is there already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert main([*words[:3], "--project", "p"]) == 2
    assert "--daw does not go with --project" in capsys.readouterr().err
