"""Styles: which tempi, metres, modes, chords, grooves, instruments and moods belong together."""

from __future__ import annotations

from dataclasses import dataclass, field

from accompany.data.songs import progressions as p


@dataclass(frozen=True)
class Style:
    """What makes a style; every mapping is a table of weights.

    Attributes:
        name: the word of `Score.style`.
        words: other wordings for captions.
        tempo: lowest, usual and highest beats a minute (in 6/8 and 12/8 of the dotted quarter, scaled on use).
        metres: weights of "4/4", "3/4", "6/8", "12/8".
        modes: weights of the modes of `theory.SCALES`.
        major, minor: pools of progressions.
        colour: chance that a plain triad grows a seventh or ninth; `sus` chance of a suspension or added ninth.
        slot_bars: weights of the length of a chord slot in bars.
        push: chance that a section anticipates chord changes by an eighth.
        swing: chance of swung eighths, and the range of the swing.
        swing_sixteenths: the swing lies on sixteenths instead of eighths.
        grooves, basses, comps: weights of patterns by name.
        drums, bass, comp, pad, lead, arp: weights of instruments by role; "" means none.
        no_drums: chance of a band without drums.
        moods: mood words.
        melody: weights of melody manners (see `melody.MANNERS`).
        weight: how often the style is drawn.
    """

    name: str
    words: tuple[str, ...]
    tempo: tuple[float, float, float]
    metres: dict[str, float]
    modes: dict[str, float]
    major: tuple[str, ...]
    minor: tuple[str, ...]
    grooves: dict[str, float]
    basses: dict[str, float]
    comps: dict[str, float]
    drums: dict[str, float]
    bass: dict[str, float]
    comp: dict[str, float]
    pad: dict[str, float]
    lead: dict[str, float]
    arp: dict[str, float]
    moods: tuple[str, ...]
    melody: dict[str, float]
    colour: float = 0.1
    sus: float = 0.08
    slot_bars: dict[float, float] = field(default_factory=lambda: {0.5: 0.2, 1.0: 1.0, 2.0: 0.2})
    push: float = 0.15
    swing: tuple[float, float, float] = (0.05, 0.58, 0.66)
    swing_sixteenths: bool = False
    no_drums: float = 0.15
    weight: float = 1.0


def _style(name: str, words: str, moods: str, **kwargs: object) -> Style:
    return Style(name, tuple(words.split(", ")), moods=tuple(moods.split(", ")), **kwargs)  # type: ignore[arg-type]


_NONE = {"": 1.0}
_DUPLE = {"4/4": 1.0}

_ALL = (
    _style(
        "pop", "pop, radio pop, indie pop, modern pop, catchy pop", "happy, bright, uplifting, romantic, catchy, tender, wistful",
        tempo=(75, 108, 135), metres={"4/4": 0.93, "6/8": 0.07}, modes={"major": 0.65, "minor": 0.28, "mixolydian": 0.05, "dorian": 0.02},
        major=p.POP_MAJOR, minor=p.POP_MINOR, grooves={"backbeat": 3, "backbeat busy": 2, "four on the floor": 2, "sidestick": 1, "half time": 1, "tom beat": 0.5},
        basses={"root eighths": 2, "root pulse": 2, "syncopated": 2, "root long": 1, "octaves": 1},
        comps={"block": 2, "quarters": 2, "eighths": 1, "strum": 2, "syncopated": 2, "broken": 1, "whole": 1},
        drums={"drums": 3, "electronic drums": 2, "rock drums": 1}, bass={"electric bass": 3, "synth bass": 1},
        comp={"piano": 3, "acoustic guitar": 2, "clean electric guitar": 1.5, "electric piano": 1, "saw chords": 0.6, "DX electric piano": 0.6},
        pad={"": 2, "warm pad": 1, "strings": 1, "synth strings": 0.6, "organ": 0.4}, lead={"": 3, "synth lead": 0.5, "glockenspiel": 0.4, "violin": 0.3, "clean electric guitar": 0.5, "saxophone": 0.2},
        arp={"": 2.5, "synth pluck": 1, "acoustic guitar": 0.5, "piano": 0.4, "marimba": 0.2}, melody={"song": 3, "syncopated": 3, "dense": 2, "sparse": 1, "few notes": 0.6}, weight=2.2, push=0.3,
    ),
    _style(
        "rock", "rock, classic rock, alternative rock, indie rock, guitar rock, punk rock", "energetic, driving, raw, powerful, rebellious, anthemic",
        tempo=(90, 124, 180), metres={"4/4": 0.94, "6/8": 0.03, "12/8": 0.03}, modes={"major": 0.4, "minor": 0.35, "mixolydian": 0.2, "dorian": 0.05},
        major=p.ROCK_MAJOR + p.POP_MAJOR[:8], minor=p.ROCK_MINOR, grooves={"rock": 3, "rock busy": 2, "backbeat": 1, "half time": 1, "punk": 1, "tom beat": 1},
        basses={"root eighths": 4, "root pulse": 1, "syncopated": 1, "octaves": 0.5}, comps={"power eighths": 2, "strum": 2, "whole": 1, "syncopated": 1, "quarters": 1},
        drums={"rock drums": 3, "drums": 1}, bass={"electric bass": 1}, comp={"overdriven guitar": 2, "distorted guitar": 1.5, "clean electric guitar": 1, "acoustic guitar": 0.6, "piano": 0.3},
        pad={"": 3, "organ": 1, "strings": 0.3}, lead={"": 2, "overdriven guitar": 1, "distorted guitar": 0.5, "harmonica": 0.1}, arp={"": 4, "clean electric guitar": 1},
        melody={"song": 2, "syncopated": 2, "sparse": 1, "few notes": 1, "dense": 0.6}, colour=0.04, no_drums=0.06, push=0.3, weight=1.6,
    ),
    _style(
        "folk", "folk, acoustic folk, singer-songwriter, indie folk, folk ballad, Celtic folk", "warm, intimate, earthy, nostalgic, gentle, hopeful",
        tempo=(65, 98, 140), metres={"4/4": 0.6, "3/4": 0.22, "6/8": 0.18}, modes={"major": 0.6, "minor": 0.2, "dorian": 0.12, "mixolydian": 0.08},
        major=p.FOLK_MAJOR + p.POP_MAJOR[:6], minor=p.FOLK_MINOR, grooves={"soft brushes": 2, "train": 1, "sidestick": 1, "stomp": 1}, basses={"root fifth": 3, "root long": 2, "root pulse": 1},
        comps={"fingerpick": 3, "strum": 3, "boom chick": 1, "broken": 1}, drums={"brushed drums": 2, "drums": 0.5, "percussion": 1.2}, bass={"upright bass": 2, "electric bass": 1, "": 1},
        comp={"acoustic guitar": 5, "nylon guitar": 1.5, "ukulele": 0.7, "piano": 0.6, "harp": 0.4}, pad={"": 3, "strings": 0.5, "accordion": 0.6, "cello": 0.4},
        lead={"": 2, "violin": 1, "flute": 0.5, "tin whistle": 0.5, "harmonica": 0.5, "banjo": 0.4, "clarinet": 0.2}, arp={"": 4, "banjo": 0.6, "nylon guitar": 0.6, "harp": 0.4},
        melody={"folk": 4, "song": 2, "sparse": 1, "nursery": 1}, colour=0.05, no_drums=0.55, weight=1.5,
    ),
    _style(
        "jazz", "jazz, swing jazz, jazz trio, vocal jazz, lounge jazz, cool jazz", "smooth, sophisticated, playful, late-night, relaxed, smoky",
        tempo=(60, 118, 190), metres={"4/4": 0.85, "3/4": 0.15}, modes={"major": 0.65, "minor": 0.35}, major=p.JAZZ_MAJOR, minor=p.JAZZ_MINOR,
        grooves={"jazz ride": 4, "jazz brushes": 2, "jazz shuffle": 1}, basses={"walking": 4, "two feel": 1.5}, comps={"charleston": 3, "jazz comp": 3, "four to the bar": 1, "whole": 0.6},
        drums={"jazz drums": 2, "brushed drums": 2}, bass={"upright bass": 6, "fretless bass": 0.4}, comp={"piano": 4, "clean electric guitar": 2, "electric piano": 0.7, "vibraphone": 0.7, "organ": 0.4},
        pad={"": 5, "strings": 0.6}, lead={"": 2, "saxophone": 1, "trumpet": 1, "clarinet": 0.6, "vibraphone": 0.5, "trombone": 0.3, "flute": 0.2}, arp=_NONE,
        melody={"jazz": 4, "song": 1, "sparse": 1}, colour=0.8, swing=(0.92, 0.6, 0.68), slot_bars={0.5: 0.7, 1.0: 1, 2.0: 0.1}, no_drums=0.22, weight=1.2, push=0.1,
    ),
    _style(
        "bossa", "bossa nova, bossa, Brazilian bossa nova, Latin jazz", "breezy, relaxed, romantic, sunny, gentle, laid-back",
        tempo=(58, 72, 90), metres=_DUPLE, modes={"major": 0.7, "minor": 0.3}, major=p.BOSSA_MAJOR, minor=p.JAZZ_MINOR, grooves={"bossa": 3, "samba soft": 1}, basses={"bossa": 4},
        comps={"bossa": 4, "bossa two": 2}, drums={"brushed drums": 1, "percussion": 1.3, "drums": 0.8, "jazz drums": 0.5}, bass={"upright bass": 3, "fretless bass": 0.5, "electric bass": 0.7, "": 0.6},
        comp={"nylon guitar": 5, "piano": 1, "electric piano": 0.8}, pad={"": 4, "strings": 1}, lead={"": 2, "flute": 1, "saxophone": 0.8, "vibraphone": 0.5, "trumpet": 0.2}, arp=_NONE,
        melody={"jazz": 2, "syncopated": 2, "song": 1, "few notes": 0.7}, colour=0.85, swing=(0, 0.5, 0.5), slot_bars={1.0: 1, 0.5: 0.4}, no_drums=0.3, weight=0.9, push=0.3,
    ),
    _style(
        "soul", "soul, neo soul, R&B, Motown, smooth R&B, soulful", "soulful, smooth, sensual, warm, groovy, heartfelt",
        tempo=(60, 88, 120), metres={"4/4": 0.85, "12/8": 0.15}, modes={"major": 0.5, "minor": 0.35, "dorian": 0.15}, major=p.SOUL_MAJOR, minor=p.SOUL_MINOR,
        grooves={"soul": 3, "backbeat": 1, "sidestick": 1, "hip hop": 1, "motown": 1}, basses={"syncopated": 3, "soul": 3, "root pulse": 0.7}, comps={"syncopated": 2, "block": 1, "quarters": 1, "offbeat": 0.7, "whole": 1, "neo soul": 2},
        drums={"drums": 3, "electronic drums": 0.6}, bass={"electric bass": 4, "synth bass": 0.5, "fretless bass": 0.3}, comp={"electric piano": 4, "organ": 1.2, "piano": 1.5, "clean electric guitar": 1.5, "DX electric piano": 0.8},
        pad={"": 2.5, "organ": 0.8, "strings": 1, "warm pad": 0.5}, lead={"": 2, "brass section": 1.3, "saxophone": 0.6, "muted guitar": 0.6, "vibraphone": 0.2}, arp={"": 5, "muted guitar": 0.6},
        melody={"soul": 4, "syncopated": 2, "dense": 1, "sparse": 0.5}, colour=0.75, no_drums=0.14, swing=(0.3, 0.53, 0.62), swing_sixteenths=True, weight=1.2, push=0.35,
    ),
    _style(
        "funk", "funk, disco funk, funky, funk groove", "groovy, energetic, playful, funky, danceable", tempo=(88, 106, 122), metres=_DUPLE, modes={"dorian": 0.5, "minor": 0.2, "mixolydian": 0.3},
        major=p.FUNK, minor=p.FUNK, grooves={"funk": 3, "funk busy": 2, "four on the floor": 1, "soul": 0.5}, basses={"funk": 4, "octaves": 1, "slap": 1.5}, comps={"funk chick": 3, "stabs": 2, "offbeat": 1, "syncopated": 1},
        drums={"drums": 4}, bass={"slap bass": 2, "electric bass": 3, "synth bass": 0.4}, comp={"clavinet": 1.5, "muted guitar": 2, "clean electric guitar": 2, "electric piano": 1, "organ": 0.7},
        pad={"": 4, "organ": 0.7, "strings": 0.4}, lead={"": 1, "brass section": 2.5, "saxophone": 0.6}, arp={"": 4, "clavinet": 0.5, "muted guitar": 0.6}, melody={"syncopated": 2, "dense": 2, "few notes": 2, "soul": 1},
        colour=0.7, no_drums=0.03, slot_bars={1.0: 0.5, 2.0: 1}, swing=(0.3, 0.53, 0.6), swing_sixteenths=True, weight=0.8, push=0.2,
    ),
    _style(
        "reggae", "reggae, roots reggae, lovers rock, dub reggae, rocksteady", "laid-back, sunny, mellow, relaxed, positive", tempo=(64, 76, 95), metres=_DUPLE,
        modes={"major": 0.55, "minor": 0.4, "mixolydian": 0.05}, major=p.REGGAE_MAJOR, minor=p.REGGAE_MINOR, grooves={"one drop": 3, "steppers": 1, "rockers": 1}, basses={"reggae": 4}, comps={"skank": 4, "skank double": 2},
        drums={"drums": 3, "electronic drums": 0.4}, bass={"electric bass": 3, "synth bass": 0.3}, comp={"clean electric guitar": 2, "muted guitar": 1, "piano": 1, "organ": 1.5}, pad={"": 2, "organ": 1.5},
        lead={"": 2, "brass section": 0.8, "trombone": 0.4, "harmonica": 0.2, "saxophone": 0.2}, arp={"": 5, "muted guitar": 0.7}, melody={"song": 2, "syncopated": 2, "few notes": 1, "sparse": 1}, no_drums=0.06, weight=0.8, swing=(0.4, 0.54, 0.64), swing_sixteenths=True, push=0.05,
    ),
    _style(
        "country", "country, country pop, bluegrass, Americana, honky-tonk country", "warm, heartfelt, cheerful, homely, easygoing", tempo=(75, 112, 160), metres={"4/4": 0.85, "3/4": 0.15},
        modes={"major": 0.88, "minor": 0.06, "mixolydian": 0.06}, major=p.COUNTRY_MAJOR + p.FOLK_MAJOR[:6], minor=p.FOLK_MINOR, grooves={"train": 2, "country": 3, "backbeat": 1, "shuffle": 1}, basses={"root fifth": 4, "country walk": 2, "root pulse": 0.7},
        comps={"boom chick": 3, "strum": 3, "fingerpick": 1}, drums={"drums": 2, "brushed drums": 1}, bass={"electric bass": 2, "upright bass": 1.5}, comp={"acoustic guitar": 4, "clean electric guitar": 1.2, "upright piano": 0.8, "piano": 0.3},
        pad={"": 4, "organ": 0.4, "strings": 0.3}, lead={"": 1.5, "violin": 1, "clean electric guitar": 1, "harmonica": 0.5, "banjo": 0.5}, arp={"": 3, "banjo": 1.4}, melody={"folk": 2, "song": 3, "syncopated": 1}, colour=0.08, no_drums=0.25, swing=(0.3, 0.58, 0.66), weight=0.9,
    ),
    _style(
        "waltz", "waltz, slow waltz, folk waltz, Viennese waltz, musette", "elegant, nostalgic, dreamy, romantic, whimsical", tempo=(80, 120, 175), metres={"3/4": 1.0}, modes={"major": 0.65, "minor": 0.35},
        major=p.FOLK_MAJOR + p.POP_MAJOR[:6] + p.JAZZ_MAJOR[:3], minor=p.FOLK_MINOR + p.POP_MINOR[:8] + p.JAZZ_MINOR[:3], grooves={"waltz": 3, "waltz ride": 1}, basses={"waltz": 4, "root fifth": 1}, comps={"oom pah": 4, "broken": 1.5, "strum": 1, "whole": 0.5},
        drums={"brushed drums": 2, "drums": 0.7, "jazz drums": 0.6}, bass={"upright bass": 3, "": 1, "cello": 0.3}, comp={"piano": 3, "accordion": 1.5, "acoustic guitar": 1.5, "harp": 0.5, "nylon guitar": 0.7, "upright piano": 0.7, "music box": 0.2}, pad={"": 2, "strings": 2, "cello": 0.5},
        lead={"": 2, "violin": 1, "clarinet": 0.7, "flute": 0.6, "accordion": 0.6}, arp={"": 3, "harp": 0.7, "piano": 0.4}, melody={"folk": 2, "song": 2, "sparse": 2, "nursery": 0.7}, colour=0.25, slot_bars={1.0: 1, 2.0: 0.8}, no_drums=0.55, weight=0.8, swing=(0.1, 0.58, 0.66),
    ),
    _style(
        "ballad", "ballad, piano ballad, slow ballad, love ballad, power ballad", "emotional, tender, sad, heartfelt, melancholic, romantic", tempo=(50, 68, 84), metres={"4/4": 0.72, "6/8": 0.16, "12/8": 0.12}, modes={"major": 0.65, "minor": 0.35},
        major=p.POP_MAJOR + p.SOUL_MAJOR[:6], minor=p.POP_MINOR, grooves={"ballad": 3, "sidestick": 2, "half time": 1}, basses={"root long": 3, "root fifth": 1, "root pulse": 1, "ballad": 2}, comps={"broken": 3, "block": 2, "quarters": 1.5, "fingerpick": 1.5, "whole": 1},
        drums={"drums": 2, "brushed drums": 1, "electronic drums": 0.4}, bass={"electric bass": 2, "fretless bass": 0.7, "upright bass": 0.5, "": 0.8}, comp={"piano": 5, "acoustic guitar": 1.5, "electric piano": 1.3, "nylon guitar": 0.6, "DX electric piano": 0.7},
        pad={"": 1, "strings": 3, "warm pad": 1, "cello": 0.4, "choir pad": 0.3}, lead={"": 4, "violin": 0.5, "cello": 0.4, "saxophone": 0.3, "flute": 0.3}, arp={"": 4, "harp": 0.4, "acoustic guitar": 0.5}, melody={"sparse": 3, "song": 3, "soul": 1, "few notes": 0.5}, colour=0.25, sus=0.18, no_drums=0.45, weight=1.5, slot_bars={0.5: 0.7, 1.0: 1},
    ),
    _style(
        "electronic", "electronic, EDM, house, synthwave, dance, trance, electropop", "euphoric, pulsing, dreamy, futuristic, energetic, hypnotic", tempo=(98, 122, 138), metres=_DUPLE, modes={"minor": 0.6, "major": 0.3, "dorian": 0.1}, major=p.ELECTRONIC_MAJOR, minor=p.ELECTRONIC_MINOR,
        grooves={"house": 3, "four on the floor": 3, "electro": 1, "breakbeat": 1, "synthwave": 1}, basses={"offbeat": 2, "octaves": 2, "root sixteenths": 1, "root eighths": 1.5, "syncopated": 1}, comps={"stabs": 2, "house chords": 2, "whole": 1, "sidechain": 1, "syncopated": 1},
        drums={"electronic drums": 3, "808 drums": 1}, bass={"synth bass": 1}, comp={"saw chords": 3, "electric piano": 0.5, "piano": 1, "synth strings": 0.7, "DX electric piano": 0.5}, pad={"": 1.2, "warm pad": 2, "synth strings": 1, "choir pad": 0.4}, lead={"": 2, "synth lead": 1.5},
        arp={"": 1, "synth pluck": 2.5}, melody={"syncopated": 2, "sparse": 2, "few notes": 2, "song": 1, "dense": 0.7}, colour=0.2, no_drums=0.06, weight=1.1, slot_bars={1.0: 1, 2.0: 0.6, 0.5: 0.2}, push=0.25,
    ),
    _style(
        "cinematic", "cinematic, orchestral, film score, epic orchestral, soundtrack", "epic, dramatic, mysterious, majestic, hopeful, dark, ethereal", tempo=(55, 82, 140), metres={"4/4": 0.7, "3/4": 0.15, "6/8": 0.15}, modes={"minor": 0.5, "major": 0.25, "dorian": 0.1, "harmonic minor": 0.05, "lydian": 0.07, "phrygian": 0.03},
        major=p.CINEMATIC_MAJOR, minor=p.CINEMATIC_MINOR, grooves={"epic toms": 2, "tom beat": 1, "half time": 1}, basses={"root long": 4, "root eighths": 0.5}, comps={"whole": 3, "broken": 2, "ostinato": 2}, drums={"rock drums": 1, "percussion": 1}, bass={"cello": 2, "": 1, "upright bass": 0.7, "synth bass": 0.3},
        comp={"strings": 3, "piano": 2, "harp": 0.7, "pizzicato strings": 0.8, "church organ": 0.3}, pad={"strings": 2, "French horns": 1, "choir pad": 1.3, "warm pad": 0.8, "": 0.4}, lead={"": 2, "French horns": 1, "violin": 0.7, "flute": 0.5, "trumpet": 0.4, "cello": 0.4}, arp={"": 1.5, "harp": 0.8, "pizzicato strings": 0.8, "piano": 0.5, "music box": 0.3},
        melody={"sparse": 4, "song": 2, "few notes": 0.7}, colour=0.1, sus=0.15, slot_bars={1.0: 1, 2.0: 1}, no_drums=0.55, weight=1.0, push=0,
    ),
    _style(
        "hip hop", "hip hop, lo-fi hip hop, trap, boom bap, rap", "laid-back, chill, gritty, moody, head-nodding", tempo=(68, 86, 100), metres=_DUPLE, modes={"minor": 0.7, "dorian": 0.15, "phrygian": 0.05, "major": 0.1}, major=p.SOUL_MAJOR, minor=p.SOUL_MINOR + p.ELECTRONIC_MINOR[:5],
        grooves={"hip hop": 3, "trap": 2, "boom bap": 2}, basses={"808": 2, "syncopated": 2, "soul": 1}, comps={"whole": 2, "neo soul": 1.5, "stabs": 1, "broken": 1}, drums={"808 drums": 2, "electronic drums": 1, "drums": 1}, bass={"synth bass": 3, "electric bass": 1.5, "upright bass": 0.4},
        comp={"electric piano": 3, "piano": 2, "vibraphone": 0.5, "nylon guitar": 0.5, "strings": 0.5, "saw chords": 0.4}, pad={"": 2, "warm pad": 1, "strings": 0.7, "choir pad": 0.4}, lead={"": 3, "flute": 0.5, "synth lead": 0.4, "trumpet": 0.3}, arp={"": 3, "glockenspiel": 0.5, "synth pluck": 0.7}, melody={"dense": 4, "few notes": 2, "soul": 1.5, "syncopated": 1},
        colour=0.5, no_drums=0.05, swing=(0.55, 0.53, 0.62), swing_sixteenths=True, weight=0.8, slot_bars={1.0: 1, 2.0: 0.7},
    ),
    _style(
        "blues", "blues, slow blues, Chicago blues, blues shuffle, rhythm and blues", "gritty, soulful, smoky, raw, weary", tempo=(60, 96, 140), metres={"4/4": 0.72, "12/8": 0.28}, modes={"blues": 0.75, "minor": 0.25}, major=p.BLUES_MAJOR, minor=p.BLUES_MINOR,
        grooves={"shuffle": 4, "backbeat": 1, "jazz shuffle": 1}, basses={"boogie": 2, "walking": 2, "root pulse": 1}, comps={"shuffle": 3, "quarters": 1, "charleston": 1, "stabs": 0.5}, drums={"drums": 3, "brushed drums": 1}, bass={"electric bass": 2, "upright bass": 1},
        comp={"clean electric guitar": 2, "upright piano": 1.5, "organ": 1, "acoustic guitar": 1, "overdriven guitar": 0.6, "piano": 0.5}, pad={"": 4, "organ": 1}, lead={"": 1.2, "harmonica": 1, "overdriven guitar": 1, "saxophone": 0.5, "clean electric guitar": 0.5}, arp=_NONE, melody={"blues": 4, "sparse": 0.5}, colour=0.3, no_drums=0.2, swing=(0.8, 0.6, 0.67), slot_bars={1.0: 1}, weight=0.8, push=0.05,
    ),
    _style(
        "latin", "Latin, Latin pop, salsa, bolero, flamenco pop, reggaeton, rumba", "passionate, festive, sensual, lively, fiery", tempo=(78, 100, 130), metres=_DUPLE, modes={"minor": 0.55, "major": 0.4, "phrygian": 0.05}, major=p.LATIN_MAJOR, minor=p.LATIN_MINOR,
        grooves={"latin": 3, "reggaeton": 2, "bolero": 1, "samba soft": 1}, basses={"tumbao": 3, "root fifth": 1, "bossa": 1, "syncopated": 0.7}, comps={"montuno": 2, "strum": 1, "bossa": 1, "syncopated": 1}, drums={"percussion": 2, "drums": 1.5, "electronic drums": 0.7}, bass={"electric bass": 2, "upright bass": 1},
        comp={"piano": 2.5, "nylon guitar": 3, "acoustic guitar": 0.8, "accordion": 0.4}, pad={"": 3, "strings": 1}, lead={"": 1.5, "trumpet": 1, "brass section": 1, "flute": 0.5, "violin": 0.3}, arp={"": 4, "nylon guitar": 0.5}, melody={"syncopated": 3, "song": 2, "dense": 1}, colour=0.15, no_drums=0.15, weight=0.8, push=0.3,
    ),
    _style(
        "gospel", "gospel, gospel choir music, worship, praise and worship", "uplifting, joyful, powerful, hopeful, reverent", tempo=(58, 80, 125), metres={"4/4": 0.55, "12/8": 0.2, "6/8": 0.15, "3/4": 0.1}, modes={"major": 0.9, "minor": 0.1}, major=p.GOSPEL_MAJOR + p.POP_MAJOR[:6], minor=p.POP_MINOR,
        grooves={"backbeat": 2, "soul": 1, "ballad": 1, "shuffle": 0.7}, basses={"root pulse": 1, "soul": 2, "country walk": 1, "root long": 1}, comps={"quarters": 2, "block": 2, "syncopated": 1, "broken": 1, "whole": 1}, drums={"drums": 1}, bass={"electric bass": 2, "": 0.4},
        comp={"piano": 4, "organ": 2, "electric piano": 0.7, "acoustic guitar": 0.7, "church organ": 0.3}, pad={"": 1, "organ": 2, "choir pad": 1, "strings": 0.7}, lead={"": 4, "brass section": 0.6, "saxophone": 0.2}, arp={"": 6, "piano": 0.3}, melody={"soul": 3, "song": 2, "sparse": 1, "folk": 1}, colour=0.35, no_drums=0.3, weight=0.7, push=0.15,
    ),
    _style(
        "metal", "metal, heavy metal, hard rock, metalcore", "aggressive, dark, intense, heavy, powerful", tempo=(90, 138, 190), metres={"4/4": 0.93, "6/8": 0.07}, modes={"minor": 0.65, "phrygian": 0.2, "harmonic minor": 0.15}, major=p.ROCK_MAJOR, minor=p.ROCK_MINOR,
        grooves={"metal": 3, "half time": 1, "punk": 1, "rock": 1}, basses={"root eighths": 4, "root sixteenths": 1}, comps={"power eighths": 2, "gallop": 2, "whole": 1}, drums={"rock drums": 1}, bass={"electric bass": 1}, comp={"distorted guitar": 5, "overdriven guitar": 1}, pad={"": 4, "synth strings": 0.5, "choir pad": 0.5}, lead={"": 2, "distorted guitar": 1}, arp={"": 5, "distorted guitar": 0.4},
        melody={"sparse": 2, "song": 1, "syncopated": 1, "few notes": 1}, colour=0, sus=0.02, no_drums=0.02, weight=0.5, push=0.1,
    ),
    _style(
        "lullaby", "lullaby, nursery song, children's song, simple song, hymn", "gentle, innocent, peaceful, playful, sweet, soothing", tempo=(60, 92, 130), metres={"4/4": 0.5, "3/4": 0.3, "6/8": 0.2}, modes={"major": 0.88, "minor": 0.12}, major=p.FOLK_MAJOR, minor=p.FOLK_MINOR,
        grooves={"soft brushes": 1, "waltz": 1}, basses={"root long": 1, "root fifth": 1}, comps={"broken": 3, "block": 1.5, "oom pah": 1, "fingerpick": 1, "quarters": 1}, drums={"brushed drums": 1, "percussion": 1}, bass={"": 3, "upright bass": 1, "cello": 0.4}, comp={"piano": 3, "music box": 1, "acoustic guitar": 1, "nylon guitar": 1, "harp": 0.8, "ukulele": 0.8, "vibraphone": 0.3, "marimba": 0.3, "church organ": 0.4, "accordion": 0.3},
        pad={"": 2, "strings": 1, "warm pad": 0.5}, lead={"": 2, "glockenspiel": 0.7, "flute": 0.6, "clarinet": 0.4, "music box": 0.3, "steel drums": 0.15}, arp={"": 4, "music box": 0.4}, melody={"nursery": 4, "folk": 2}, colour=0.02, no_drums=0.8, weight=0.9, push=0,
    ),
)  # fmt: skip

STYLES: dict[str, Style] = {style.name: style for style in _ALL}
