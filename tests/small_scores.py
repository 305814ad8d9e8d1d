"""Made-up songs in the layouts of the published collections, a few bars each."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

BPM = 100.0
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_CONTAINER = '<container><rootfiles><rootfile full-path="score.xml"/></rootfiles></container>'
TUNE = (60, 62, 64, 65, 67, 65, 64, 62)
WORDS = "the ri- ver runs and you and I".split()


def pop909(root: Path, numbers: Sequence[str] = ("001", "002"), *, metre: int = 4, slowing: float = 0.0) -> Path:
    """Songs of sixteen sung bars after an intro of two, in C; `slowing` makes each beat that much longer."""
    pretty_midi = pytest.importorskip("pretty_midi")
    for number in numbers:
        folder = root / number
        folder.mkdir(parents=True)
        n_beats = 20 * metre
        beats = [0.5]
        for index in range(n_beats):
            beats.append(beats[-1] + 60 / BPM * (1 + slowing * index))
        half = metre // 2 if metre == 4 else 3
        rows = [f"{t} {float(i % half == 0)} {float(i % (2 * half) == 0)}" for i, t in enumerate(beats)]
        (folder / "beat_midi.txt").write_text("\n".join(rows))

        def at(beat: float, beats: list[float] = beats) -> float:
            whole = int(beat)
            return beats[whole] + (beat - whole) * (beats[whole + 1] - beats[whole])

        labels = ("C:maj", "A:min7", "F:maj/3", "G:sus4(b7)")
        lines = [f"{at(0)}\t{at(metre)}\tN"]
        lines += [f"{at(b * metre)}\t{at((b + 1) * metre)}\t{labels[b % 4]}" for b in range(1, 19)]
        (folder / "chord_midi.txt").write_text("\n".join(lines))
        (folder / "key_audio.txt").write_text(f"{beats[0]}\t{beats[-1]}\tC:maj\n")
        (folder / "phrases.txt").write_text("i2A4A4B4B4o2")
        midi = pretty_midi.PrettyMIDI()
        tracks = {name: pretty_midi.Instrument(0, name=name) for name in ("MELODY", "BRIDGE", "PIANO")}
        for bar in range(2, 18):
            high = 5 if 10 <= bar < 18 else 0
            for index in range(metre):
                start, end = at(bar * metre + index), at(bar * metre + index + 0.9)
                # The last bar of a phrase rests on one note.
                if not index or bar % 4 != 1:
                    pitch = TUNE[(bar * metre + index) % 8] + high
                    tracks["MELODY"].notes.append(pretty_midi.Note(90, pitch, start, end))
        for bar in range(20):
            for pitch in (48, 64, 67):
                note = pretty_midi.Note(70, pitch, at(bar * metre), at(bar * metre + metre - 0.5))
                tracks["PIANO"].notes.append(note)
            tracks["BRIDGE"].notes.append(pretty_midi.Note(70, 72, at(bar * metre), at(bar * metre + 1)))
        midi.instruments.extend(tracks.values())
        midi.write(str(folder / f"{number}.mid"))
    return root


def note(pitch: str, length: int, lyric: str = "", extra: str = "") -> str:
    """A note of MusicXML: "C4", "Eb5" or "r" for a rest, length in eighths, a lyric such as "ri-" or "2:ver"."""
    if pitch == "r":
        return f"<note><rest/><duration>{length}</duration><voice>1</voice></note>"
    step, octave = pitch[0], pitch[-1]
    alter = {"b": -1, "#": 1}.get(pitch[1:2], 0)
    words = "".join(_lyric(text) for text in lyric.split("|") if text)
    return (
        f"<note>{'<chord/>' if 'chord' in extra else ''}<pitch><step>{step}</step><alter>{alter}</alter>"
        f"<octave>{octave}</octave></pitch><duration>{length}</duration>"
        f"{''.join(f'<tie type={chr(34)}{t}{chr(34)}/>' for t in ('start', 'stop') if t in extra)}"
        f"<voice>1</voice>{words}</note>"
    )


def _lyric(text: str) -> str:
    number, _, word = text.rpartition(":")
    syllabic = "begin" if word.endswith("-") else "single"
    return (
        f'<lyric number="{number or 1}"><syllabic>{syllabic}</syllabic><text>{escape(word.rstrip("-"))}</text></lyric>'
    )


def harmony(root: str, kind: str = "major", extra: str = "") -> str:
    """A chord symbol of MusicXML."""
    alter = {"b": -1, "#": 1}.get(root[1:2], 0)
    return (
        f"<harmony><root><root-step>{root[0]}</root-step><root-alter>{alter}</root-alter></root>"
        f"<kind>{kind}</kind>{extra}</harmony>"
    )


def attributes(metre: str = "4/4", fifths: int = 0) -> str:
    """Divisions of two a quarter, a key and a metre."""
    beats, unit = metre.split("/")
    return (
        f"<attributes><divisions>2</divisions><key><fifths>{fifths}</fifths></key>"
        f"<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time></attributes>"
    )


def write_mxl(path: Path, parts: dict[str, list[str]], *, composer: str = "", title: str = "A Song") -> Path:
    """A compressed score of parts in measures."""
    names = "".join(
        f'<score-part id="P{i}"><part-name>{escape(name)}</part-name></score-part>' for i, name in enumerate(parts)
    )
    bodies = "".join(
        f'<part id="P{i}">' + "".join(f"<measure>{measure}</measure>" for measure in measures) + "</part>"
        for i, measures in enumerate(parts.values())
    )
    creator = f'<identification><creator type="composer">{escape(composer)}</creator></identification>'
    score = (
        f"<score-partwise><movement-title>{escape(title)}</movement-title>{creator if composer else ''}"
        f"<part-list>{names}</part-list>{bodies}</score-partwise>"
    )
    return write_archive(path, {"META-INF/container.xml": _CONTAINER, "score.xml": _HEAD + score})


def write_archive(path: Path, files: dict[str, str | bytes]) -> Path:
    """A zip archive of some files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


_SCALE = ("C4", "D4", "E4", "F4", "G4", "F4", "E4", "D4")


def _sung_bar(bar: int, words: Sequence[str], eighths: int) -> str:
    """A bar of quarters, or of one long note and a rest where a phrase of four bars ends."""
    if bar % 4 == 3:
        return note("C4", eighths - 2, words[bar % len(words)]) + note("r", 2)
    return "".join(
        note(_SCALE[(bar + index) % 8], 2, words[(4 * bar + index) % len(words)]) for index in range(eighths // 2)
    )


def openewld(root: Path, titles: Sequence[str] = ("Blue_Hill", "Green_Vale"), *, bars: int = 16) -> Path:
    """Lead sheets of `bars` bars in C with words and chord symbols."""
    for title in titles:
        chords = ("C", "A", "F", "G")
        kinds = ("major", "minor-seventh", "major", "dominant")
        measures = [harmony(chords[b % 4], kinds[b % 4]) + _sung_bar(b, WORDS, 8) for b in range(bars)]
        measures[0] = attributes() + measures[0]
        write_mxl(root / "dataset" / "Ann_Other" / title / f"{title}.mxl", {"Voice": measures}, title=title)
    return root


def lieder(root: Path, titles: Sequence[str] = ("Abend",), *, metre: str = "3/4", bars: int = 14) -> Path:
    """Art songs: two bars of piano, then voice and piano, in C, at 90 quarter notes a minute."""
    words = "die Lie- be ist der Wind und ich und du und der Mond ist mein".split()
    beats, unit = (int(n) for n in metre.split("/"))
    eighths = 8 * beats // unit
    for title in titles:
        roots = (("C3", "E4", "G4"), ("F3", "F4", "A4"), ("G3", "D4", "B4"), ("C3", "E4", "C5"))
        piano = [
            "".join(note(pitch, eighths, extra="chord" if i else "") for i, pitch in enumerate(roots[b % 4]))
            for b in range(bars)
        ]
        voice = [note("r", eighths)] * 2 + [_sung_bar(b, words, eighths) for b in range(bars - 2)]
        voice[0] = attributes(metre) + '<direction><sound tempo="90"/></direction>' + voice[0]
        piano[0] = attributes(metre) + piano[0]
        path = root / "scores" / "Ton,_Anna" / "_" / title / "lc1.mxl"
        write_mxl(path, {"Singstimme": voice, "Pianoforte": piano}, composer="Anna Ton", title=title)
    return root


def groove(root: Path, *, bpm: int = 100, metre: str = "4-4", split: str = "train", bars: int = 4) -> Path:
    """A beat and a fill: kick on one, rimshot (40) on three, a hat (22) after each beat; the fill plays a tom alone."""
    pretty_midi = pytest.importorskip("pretty_midi")
    rows = []
    for kind in ("beat", "fill"):
        name = f"drummer1/session1/1_rock_{bpm}_{kind}_{metre}.mid"
        rows.append(["drummer1", "session1", "x", "rock", bpm, kind, metre, name, "", "10", split])
        midi = pretty_midi.PrettyMIDI(initial_tempo=bpm)
        kit = pretty_midi.Instrument(0, is_drum=True)
        for beat in range((bars if kind == "beat" else 1) * int(metre[0])):
            hits = [43] if kind == "fill" else [36] if beat % 4 == 0 else [40] if beat % 4 == 2 else []
            start = beat * 60 / bpm + (0.01 if beat % 2 else 0.0)
            kit.notes += [pretty_midi.Note(100, pitch, start, start + 0.1) for pitch in hits]
            if kind == "beat":
                off_beat = (beat + 0.5) * 60 / bpm
                kit.notes.append(pretty_midi.Note(70, 22, off_beat, off_beat + 0.1))
        midi.instruments.append(kit)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        midi.write(str(root / name))
    columns = "drummer session id style bpm beat_type time_signature midi_filename audio_filename duration split"
    with (root / "info.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns.split(), *rows])
    return root
