"""Reader for compressed MusicXML (.mxl): parts in measures, with notes, words, chords and repeats.

A reader of its own on the standard library, because what is needed is small and what is read is foreign: music21 would
add 114 MB and ten packages, partitura lxml and xmlschema, and neither bounds what an archive unpacks to. Here an
archive, its content and the number of its elements are bounded, and a document that declares entities is refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from accompany.data.scores.chord_symbols import musicxml_chord
from accompany.data.scores.lead_sheet import Unreadable
from accompany.data.songs.theory import Chord

LARGEST_ARCHIVE = 8 << 20
LARGEST_DOCUMENT = 32 << 20
MOST_ELEMENTS = 2_000_000
_CONTAINER = "META-INF/container.xml"
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class RawNote(NamedTuple):
    """A sounding note of a measure; positions are quarter notes from its bar line.

    `lyrics` maps verse numbers to (text, syllabic); `ties` holds "start" and "stop".
    """

    start_q: float
    length_q: float
    pitch: int
    voice: str
    lyrics: dict[str, tuple[str, str]]
    ties: frozenset[str]


@dataclass
class Measure:
    """A measure of one part; `metre`, `fifths` and `mode` only where they are set."""

    length_q: float = 0.0
    metre: str = ""
    fifths: int | None = None
    mode: str = ""
    notes: list[RawNote] = field(default_factory=list)
    chords: list[tuple[float, Chord | None]] = field(default_factory=list)
    tempi: list[tuple[float, float]] = field(default_factory=list)
    n_skipped_chords: int = 0
    repeat_starts: bool = False
    repeat_times: int = 0
    endings: frozenset[int] = frozenset()


@dataclass
class RawPart:
    """A part: its name, number of staves and measures."""

    name: str
    staves: int
    measures: list[Measure]


@dataclass
class RawScore:
    """A document: title, creators by kind ("composer", "lyricist"), parts."""

    title: str
    creators: dict[str, str]
    parts: list[RawPart]


def read_mxl(path: Path) -> RawScore:
    """Read a compressed MusicXML file.

    Raises:
        Unreadable: it is damaged, hostile, too large, or no score in parts.
    """
    try:
        root = parse_xml(_unpack(path))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise Unreadable(f"no readable archive ({error})") from error
    if root.tag != "score-partwise":
        raise Unreadable(f"its root is <{root.tag}>, not <score-partwise>")
    try:
        return _score(root)
    except (ValueError, KeyError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise Unreadable(f"a value that makes no sense ({error})") from error


def parse_xml(document: bytes) -> Element:
    """The tree of a document without entities of its own.

    Raises:
        Unreadable: malformed, too large, or with entity declarations.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    n_elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal n_elements
        n_elements += 1
        if n_elements > MOST_ELEMENTS:
            raise Unreadable(f"more than {MOST_ELEMENTS} elements")
        builder.start(tag, attributes)

    def refuse(*_: object) -> None:
        raise Unreadable("it declares XML entities")

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise Unreadable(f"malformed XML ({error})") from error
    return builder.close()


def _unpack(path: Path) -> bytes:
    """The score inside an archive."""
    if path.stat().st_size > LARGEST_ARCHIVE:
        raise Unreadable(f"an archive of over {LARGEST_ARCHIVE >> 20} MiB")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        return _bounded(archive, _rootfile(archive, names))


def _rootfile(archive: zipfile.ZipFile, names: list[str]) -> str:
    """The score that the container names, else the first there is: OpenEWLD has containers that are no XML."""
    if _CONTAINER in names:
        with suppress(Unreadable):
            for element in parse_xml(_bounded(archive, _CONTAINER)).iter("rootfile"):
                if (name := element.get("full-path", "")) in names:
                    return name
    scores = [name for name in names if name.lower().endswith((".xml", ".musicxml")) and name != _CONTAINER]
    if not scores:
        raise Unreadable("no score in the archive")
    return scores[0]


def _bounded(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as stream:
        content = stream.read(LARGEST_DOCUMENT + 1)
    if len(content) > LARGEST_DOCUMENT:
        raise Unreadable(f"a document of over {LARGEST_DOCUMENT >> 20} MiB")
    return content


def _score(root: Element) -> RawScore:
    names = {part.get("id", ""): (part.findtext("part-name") or "") for part in root.iter("score-part")}
    creators = {element.get("type", ""): " ".join((element.text or "").split()) for element in root.iter("creator")}
    title = root.findtext("movement-title") or root.findtext("work/work-title") or ""
    parts = [_part(part, " ".join(names.get(part.get("id", ""), "").split())) for part in root.findall("part")]
    if not parts:
        raise Unreadable("no parts")
    return RawScore(" ".join(title.split()), creators, parts)


def _part(part: Element, name: str) -> RawPart:
    reader = _PartReader()
    measures = [reader.measure(element) for element in part.findall("measure")]
    return RawPart(name, reader.staves, measures)


class _PartReader:
    """Reads the measures of one part in order, since divisions, metre and transposition go on from bar to bar."""

    def __init__(self) -> None:
        self.staves = 1
        self._divisions = 1.0
        self._nominal_q = 4.0
        self._transpose = 0
        self._endings: frozenset[int] = frozenset()

    def measure(self, element: Element) -> Measure:
        """Read one measure."""
        measure = Measure()
        at = furthest = onset = 0.0
        for child in element:
            if child.tag == "attributes":
                self._attributes(child, measure)
            elif child.tag in ("backup", "forward"):
                at += self._quarters(child) * (-1 if child.tag == "backup" else 1)
            elif child.tag == "note":
                length = self._quarters(child)
                if child.find("chord") is None:
                    onset, at = at, at + length
                self._note(child, onset, length, measure)
            elif child.tag == "harmony":
                _harmony(child, at + self._offset(child), measure)
            elif child.tag in ("direction", "sound"):
                measure.tempi += [(max(at + self._offset(child), 0.0), bpm) for bpm in _tempi(child)]
            elif child.tag == "barline":
                self._barline(child, measure)
            at = max(at, 0.0)
            furthest = max(furthest, at)
        measure.length_q = round(furthest, 6) or self._nominal_q
        return measure

    def _attributes(self, element: Element, measure: Measure) -> None:
        self._divisions = float(element.findtext("divisions") or self._divisions)
        if not self._divisions > 0:
            raise ValueError("divisions of 0")
        self.staves = max(self.staves, int(element.findtext("staves") or 1))
        self._transpose = int(float(element.findtext("transpose/chromatic") or self._transpose))
        self._transpose += 12 * int(float(element.findtext("transpose/octave-change") or 0))
        key, time = element.find("key"), element.find("time")
        if key is not None and key.findtext("fifths"):
            measure.fifths, measure.mode = int(key.findtext("fifths") or 0), key.findtext("mode") or ""
        if time is not None and time.findtext("beats"):
            beats = sum(int(term) for term in (time.findtext("beats") or "").split("+"))
            unit = int(time.findtext("beat-type") or 4)
            measure.metre, self._nominal_q = f"{beats}/{unit}", 4 * beats / unit

    def _quarters(self, element: Element) -> float:
        return float(element.findtext("duration") or 0) / self._divisions

    def _offset(self, element: Element) -> float:
        return float(element.findtext("offset") or 0) / self._divisions

    def _note(self, element: Element, onset: float, length: float, measure: Measure) -> None:
        pitch = element.find("pitch")
        if pitch is None or length <= 0 or element.find("grace") is not None or element.find("cue") is not None:
            return
        number = _STEPS[pitch.findtext("step") or ""] + 12 * (int(pitch.findtext("octave") or 4) + 1)
        number += round(float(pitch.findtext("alter") or 0)) + self._transpose
        if not 0 <= number <= 127:
            return
        ties = frozenset(tie.get("type", "") for tie in element.findall("tie"))
        voice = element.findtext("voice") or "1"
        measure.notes.append(RawNote(round(onset, 6), round(length, 6), number, voice, _lyrics(element), ties))

    def _barline(self, element: Element, measure: Measure) -> None:
        ending, repeat = element.find("ending"), element.find("repeat")
        if ending is not None and ending.get("type") == "start":
            numbers = (ending.get("number") or "").replace(".", ",").split(",")
            self._endings = frozenset(int(n) for n in numbers if n.strip().isdecimal())
        if self._endings:
            measure.endings = self._endings
        if repeat is not None and repeat.get("direction") == "forward":
            measure.repeat_starts = True
        if repeat is not None and repeat.get("direction") == "backward":
            measure.repeat_times = min(max(int(repeat.get("times") or 2), 2), 8)
        if ending is not None and ending.get("type") in ("stop", "discontinue"):
            self._endings = frozenset()


def _lyrics(note: Element) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for lyric in note.findall("lyric"):
        text = "".join(part.text or "" for part in lyric.findall("text")).strip()
        if text:
            found.setdefault(lyric.get("number") or "1", (text, lyric.findtext("syllabic") or "single"))
    return found


def _tempi(element: Element) -> Iterator[float]:
    """Quarter notes a minute."""
    for sound in element.iter("sound"):
        bpm = float(sound.get("tempo") or 0)
        if 10 <= bpm <= 600:
            yield bpm


def _name(element: Element, kind: str) -> str:
    step = element.findtext(f"{kind}/{kind}-step") or ""
    alter = round(float(element.findtext(f"{kind}/{kind}-alter") or 0))
    return step + ("#" * alter if alter > 0 else "b" * -alter)


def _harmony(element: Element, at: float, measure: Measure) -> None:
    degrees = [
        (d.findtext("degree-type") or "add", int(d.findtext("degree-value") or 1), int(d.findtext("degree-alter") or 0))
        for d in element.findall("degree")
    ]
    kind = (element.findtext("kind") or "").strip()
    try:
        chord = musicxml_chord(
            _name(element, "root"), kind, bass=_name(element, "bass"),
            inversion=int(element.findtext("inversion") or 0), degrees=degrees,
        )  # fmt: skip
    except ValueError:
        measure.n_skipped_chords += 1
        return
    measure.chords.append((max(round(at, 6), 0.0), chord))
