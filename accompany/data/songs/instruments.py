"""The fixed vocabulary of instruments: General MIDI sounds, families and the words that captions use."""

from __future__ import annotations

from dataclasses import dataclass

from accompany.music.instrumentation import FAMILIES as FAMILIES


@dataclass(frozen=True)
class Instrument:
    """One instrument of the vocabulary.

    Attributes:
        name: what `song.json` calls it.
        programs: General MIDI programs (for drums: kits) that sound like it.
        family: the coarse word that "no ..." captions use.
        words: other names that captions use.
        low, high: sensible MIDI range.
        gain_db: usual level in the mix.
    """

    name: str
    programs: tuple[int, ...]
    family: str
    words: tuple[str, ...]
    low: int
    high: int
    gain_db: float
    is_drums: bool = False


def _instrument(
    name: str, programs: tuple[int, ...], family: str, words: str, low: int, high: int, gain_db: float
) -> Instrument:
    return Instrument(
        name, programs, family, tuple(words.split(", ")), low, high, gain_db, is_drums=family in ("drums", "percussion")
    )


_ALL = (
    _instrument("drums", (0, 8), "drums", "drum kit, acoustic drums, live drums, drum set", 27, 87, -3),
    _instrument("rock drums", (16, 8), "drums", "hard-hitting drums, big drums, power drums", 27, 87, -2),
    _instrument("brushed drums", (40,), "drums", "brushes, soft brushed drums, brush kit", 27, 87, -4),
    _instrument("jazz drums", (32,), "drums", "jazz kit, ride cymbal drums, swinging drums", 27, 87, -4),
    _instrument("electronic drums", (24,), "drums", "drum machine, programmed drums, electronic beat", 27, 87, -3),
    _instrument("808 drums", (25,), "drums", "808 drum machine, 808 beat, trap drums", 27, 87, -3),
    _instrument("percussion", (0,), "percussion", "hand percussion, congas and shaker, light percussion", 27, 87, -6),
    _instrument("electric bass", (33, 34), "bass", "bass guitar, bass, finger bass", 28, 55, -3),
    _instrument("slap bass", (36, 37), "bass", "slapped bass, funky slap bass", 28, 58, -4),
    _instrument("upright bass", (32,), "bass", "double bass, acoustic bass, standup bass", 28, 55, -2),
    _instrument("fretless bass", (35,), "bass", "smooth fretless bass", 28, 55, -3),
    _instrument("synth bass", (38, 39), "bass", "analog bass, electronic bass, fat synth bass", 26, 52, -4),
    _instrument("piano", (0,), "piano", "grand piano, acoustic piano, piano chords", 33, 96, -4),
    _instrument("upright piano", (1, 3), "piano", "old upright piano, honky-tonk piano, bar piano", 33, 96, -5),
    _instrument("electric piano", (4,), "electric piano", "Rhodes, warm Rhodes, Fender Rhodes keys", 36, 88, -5),
    _instrument("DX electric piano", (5,), "electric piano", "FM electric piano, eighties electric piano", 36, 88, -5),
    _instrument("clavinet", (7,), "clavinet", "clav, funky clavinet", 40, 84, -7),
    _instrument("organ", (16, 17, 18), "organ", "Hammond organ, Hammond, B3 organ", 40, 84, -8),
    _instrument("church organ", (19,), "organ", "pipe organ", 36, 84, -9),
    _instrument("accordion", (21, 23), "accordion", "squeezebox, bandoneon", 45, 84, -8),
    _instrument("acoustic guitar", (25,), "guitar", "steel-string guitar, strummed acoustic guitar", 40, 84, -4),
    _instrument("nylon guitar", (24,), "guitar", "classical guitar, Spanish guitar, nylon-string guitar", 40, 84, -4),
    _instrument("clean electric guitar", (27, 26), "guitar", "clean guitar, jazz guitar, chorus guitar", 40, 86, -5),
    _instrument("muted guitar", (28,), "guitar", "palm-muted guitar, muted funk guitar", 40, 86, -5),
    _instrument("overdriven guitar", (29,), "guitar", "crunchy guitar, driven electric guitar", 38, 86, -8),
    _instrument("distorted guitar", (30,), "guitar", "heavy guitar, distortion guitar, fuzz guitar", 38, 86, -9),
    _instrument("banjo", (105,), "banjo", "five-string banjo, picked banjo", 45, 84, -7),
    _instrument("ukulele", (24,), "ukulele", "uke, strummed ukulele", 60, 84, -6),
    _instrument("harp", (46,), "harp", "concert harp, plucked harp", 36, 96, -5),
    _instrument("strings", (48, 49), "strings", "string section, orchestral strings, lush strings", 36, 93, -8),
    _instrument("synth strings", (50, 51), "strings", "string machine, synthetic strings", 40, 90, -9),
    _instrument("violin", (40,), "strings", "solo violin, fiddle", 55, 93, -7),
    _instrument("cello", (42,), "strings", "solo cello", 36, 72, -6),
    _instrument("pizzicato strings", (45,), "strings", "plucked strings, pizzicato", 40, 88, -5),
    _instrument("trumpet", (56, 59), "brass", "muted trumpet, trumpet line", 55, 84, -8),
    _instrument("trombone", (57,), "brass", "trombone line", 40, 70, -8),
    _instrument("French horns", (60,), "brass", "horns, orchestral horns", 41, 74, -8),
    _instrument("brass section", (61,), "brass", "horn section, horn stabs, brass", 45, 84, -8),
    _instrument("saxophone", (65, 66), "saxophone", "sax, tenor sax, alto sax", 46, 80, -8),
    _instrument("clarinet", (71,), "woodwinds", "clarinet line", 50, 86, -7),
    _instrument("flute", (73,), "woodwinds", "flute line, silver flute", 60, 94, -6),
    _instrument("tin whistle", (72, 74), "woodwinds", "whistle, recorder", 67, 96, -10),
    _instrument("harmonica", (22,), "harmonica", "mouth harp, blues harp", 55, 86, -10),
    _instrument("vibraphone", (11,), "vibraphone", "vibes", 53, 89, -5),
    _instrument("marimba", (12,), "mallets", "wooden mallets, marimba pattern", 48, 89, -5),
    _instrument("glockenspiel", (9,), "bells", "bells, glock, celesta", 72, 100, -9),
    _instrument("music box", (10,), "bells", "toy music box", 60, 96, -6),
    _instrument("steel drums", (114,), "steel drums", "steelpan, steel pans", 55, 84, -6),
    _instrument("choir pad", (52, 91), "pad", "wordless choir, choir", 45, 84, -10),
    _instrument("warm pad", (89, 88, 95), "pad", "synth pad, soft pad, ambient pad", 40, 88, -10),
    _instrument("synth lead", (81, 80), "synth", "saw lead, lead synth", 55, 92, -11),
    _instrument("synth pluck", (84, 98, 99), "synth", "plucked synth, arpeggiated synth, synth arpeggio", 48, 94, -9),
    _instrument("saw chords", (90, 62, 63), "synth", "synth chords, synth stabs, analog synth", 45, 88, -10),
)

INSTRUMENTS: dict[str, Instrument] = {instrument.name: instrument for instrument in _ALL}
