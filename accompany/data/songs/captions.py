"""Captions of synthetic songs: many wordings of one set of facts."""

from __future__ import annotations

from accompany.data.songs.arrange import Arrangement
from accompany.data.songs.form import Form
from accompany.data.songs.instruments import FAMILIES, INSTRUMENTS
from accompany.data.songs.rng import Rng
from accompany.data.songs.score import Part

_DARK = frozenset({"minor", "harmonic minor", "dorian", "phrygian"})
_TEMPO_WORDS = (
    (70, ("very slow", "slow")), (86, ("slow", "laid-back", "relaxed")),
    (104, ("mid-tempo", "moderate", "easygoing")), (126, ("mid-tempo", "upbeat", "lively")),
    (150, ("fast", "upbeat", "brisk")), (999, ("very fast", "fast", "frantic")),
)  # fmt: skip
# Families that are easily taken for another, which is then not called absent.
_ALIKE = {
    "electric piano": ("piano",),
    "pad": ("synth",),
    "saxophone": ("brass",),
    "clavinet": ("piano",),
    "synth": ("strings",),
}
_COUNT = 8
_SUPPORT = ("accompaniment", "backing", "backing track", "arrangement", "band", "instrumental")
# Caption words for patterns, put before the instrument.
_PLAYING = {
    "walking": ("walking",), "strum": ("strummed", "strumming"), "fingerpick": ("fingerpicked", "finger-picked"),
    "broken": ("arpeggiated", "flowing", "broken-chord"), "skank": ("offbeat", "skanking"),
    "skank double": ("offbeat",), "power eighths": ("driving", "chugging"), "gallop": ("galloping",),
    "whole": ("sustained", "long-held"), "syncopated": ("syncopated",), "octaves": ("octave", "bouncing"),
    "offbeat": ("offbeat",), "funk": ("funky",), "slap": ("slapping",), "root eighths": ("pulsing", "driving"),
    "stabs": ("stabbing", "staccato"), "arp": ("arpeggiated",), "oom pah": ("oom-pah",),
    "boom chick": ("boom-chick", "alternating"), "shuffle": ("shuffling",), "lead": ("melodic", "soloing"),
    "four on the floor": ("four-on-the-floor",), "house": ("four-on-the-floor",), "half time": ("half-time",),
    "train": ("train-beat",), "trap": ("trap",), "boom bap": ("boom bap",), "one drop": ("one-drop",),
    "bossa": ("bossa",), "jazz ride": ("swinging",), "sidestick": ("sidestick", "cross-stick"),
    "tom beat": ("tom-heavy", "tribal"), "pad": ("sustained", "airy"), "funk chick": ("scratchy", "funky"),
    "montuno": ("montuno",), "block": ("simple", "block-chord"), "root long": ("long-note", "simple"),
}  # fmt: skip


def _feel(form: Form, rng: Rng) -> str:
    """Metre, swing or mode in words: "swing feel", "in three", "minor key"."""
    options = ["minor key" if form.mode in _DARK else "major key"]
    if form.time.swing > 0.54:
        options += ["swing feel", "shuffle feel", "swung"]
    if form.metre.label == "3/4":
        options += ["3/4", "in three", "waltz time"]
    if form.metre.compound:
        options += [form.metre.label, "triplet feel", "rolling feel"]
    options.append(f"{round(form.tempo_bpm)} bpm")
    return rng.pick(options)


def facts(form: Form, band: Arrangement, rng: Rng) -> dict[str, object]:
    """The facts that captions speak of: style, mood, tempo, density, instruments."""
    parts = band.parts
    pulse = form.tempo_bpm * (1.4 if form.metre.compound else 1.0)
    words = next(words for limit, words in _TEMPO_WORDS if pulse < limit)
    rate = sum(len(part.notes) for part in parts) / form.duration_s
    density = "sparse" if rate < 7 else "full" if rate < 26 else "busy"
    return {
        "style": form.style.name,
        "style_word": rng.pick(form.style.words),
        "mood": rng.pick(form.style.moods),
        "tempo_word": rng.pick(words),
        "density": density,
        "mode": form.mode,
        "instruments": [part.name for part in parts],
        "families": sorted({INSTRUMENTS[part.name].family for part in parts}),
        "roles": {part.name: part.role for part in parts},
        "playing": dict(band.playing),
        "feel": _feel(form, rng),
        "tempo_bpm": form.tempo_bpm,
    }


def absent_families(parts: tuple[Part, ...], rng: Rng) -> tuple[str, ...]:
    """Families that the captions may call absent: drums first where there are none, and up to two others."""
    present = {INSTRUMENTS[part.name].family for part in parts}
    if "percussion" in present:
        present.add("drums")
    absent = ["drums"] if "drums" not in present else []
    present |= {other for name in tuple(present) for other in _ALIKE.get(name, ())}
    if any("synth" in part.name for part in parts):
        present.add("synth")
    others = [name for name in ("piano", "guitar", "strings", "bass", "synth", "brass", "organ") if name not in present]
    absent += rng.shuffled(others)[: rng.integer(0, 2)]
    return tuple(name for name in absent if name in FAMILIES)


def write_captions(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> tuple[str, ...]:
    """Up to eight different captions, long and short, in several kinds of wording."""
    makers = (_sentence, _telegraph, _instruments_only, _one_instrument, _style_only, _band_of, _with_absence, _request)
    captions: list[str] = []
    for maker in makers * 3:
        text = _finish(maker(known, absent, rng), rng)
        if text and text not in captions:
            captions.append(text)
        if len(captions) == _COUNT:
            break
    return tuple(captions)


def _names(known: dict[str, object], rng: Rng, most: int = 6) -> list[str]:
    """Wordings of some of the instruments."""
    instruments = rng.shuffled(list(known["instruments"]))[:most]  # type: ignore[call-overload]
    return [_played(name, known, rng) if rng.chance(0.2) else _wording(name, rng) for name in instruments]


def _wording(name: str, rng: Rng) -> str:
    return name if rng.chance(0.55) else rng.pick(INSTRUMENTS[name].words)


def _played(name: str, known: dict[str, object], rng: Rng) -> str:
    """A wording of an instrument with what it plays: "walking double bass"."""
    playing: dict[str, str] = known["playing"]  # type: ignore[assignment]
    words = _PLAYING.get(playing.get(name, ""))
    text = _wording(name, rng)
    if words is None or INSTRUMENTS[name].family == "percussion":
        return text
    word = rng.pick(words)
    return text if word[:5] in text else f"{word} {text}"


def _join(names: list[str], rng: Rng) -> str:
    if len(names) == 1:
        return names[0]
    if rng.chance(0.25):
        return ", ".join(names)
    return ", ".join(names[:-1]) + rng.pick((" and ", " and ", " & ", " plus ")) + names[-1]


def _article(text: str) -> str:
    return ("an " if text[0].lower() in "aeiou" else "a ") + text


def _absence(absent: tuple[str, ...], rng: Rng) -> str:
    if not absent:
        return ""
    return rng.pick(("no ", "no ", "without ", "without any ")) + absent[0]


def _sentence(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    adjectives = rng.shuffled([str(known["mood"]), str(known["tempo_word"]), str(known["density"])])
    lead = " ".join([*adjectives[: rng.integer(1, 2)], str(known["style_word"])])
    tail = f", {_absence(absent, rng)}" if absent and rng.chance(0.5) else ""
    return f"{_article(lead)} {rng.pick(_SUPPORT)} with {_join(_names(known, rng), rng)}{tail}"


def _telegraph(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    names = _names(known, rng, 3)
    adjective = rng.pick((str(known["mood"]), "warm", "soft", "gentle", "")) if known["density"] != "busy" else ""
    names[0] = f"{adjective} {names[0]}".strip() if not names[0].startswith("a ") else names[0]
    return ", ".join([*names, str(known["feel"])] if rng.chance(0.15) else names)


def _instruments_only(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    return _join(_names(known, rng), rng)


def _one_instrument(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    name = _names(known, rng, 1)[0]
    if len(known["instruments"]) == 1:  # type: ignore[arg-type]
        return rng.pick((f"just {name}", f"solo {name}", f"only {name}", f"{name} alone", f"{name} accompaniment"))
    return rng.pick((name, f"{known['style_word']} with {name}", f"featuring {name}", f"{known['mood']} {name}"))


def _style_only(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    style, mood, tempo = known["style_word"], known["mood"], known["tempo_word"]
    feel = known["feel"]
    options = (f"{style}", f"{mood} {style}", f"{tempo} {style}", f"{tempo}, {mood} {style}", f"{style}, {mood}")
    return rng.pick((*options, f"{style}, {feel}", f"{mood} {tempo} {style}, {feel}"))


def _band_of(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    count = len(known["instruments"])  # type: ignore[arg-type]
    size = {1: "solo", 2: "duo", 3: "trio", 4: "quartet", 5: "quintet"}.get(count, "band")
    return f"{known['mood']} {known['style_word']} {size}: {_join(_names(known, rng), rng)}"


def _with_absence(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    if not absent:
        return f"{known['tempo_word']} {known['style_word']} groove, {_join(_names(known, rng, 2), rng)}"
    core = rng.pick((str(known["style_word"]), _join(_names(known, rng, 2), rng)))
    if absent[0] == "drums" and rng.chance(0.25):
        electric = {"synth", "pad", "electric piano"} & set(known["families"])  # type: ignore[call-overload]
        return f"{core}, drumless" if electric else f"unplugged {core}"
    if len(absent) > 1 and rng.chance(0.4):
        return f"{core}, no {absent[0]} and no {absent[1]}"
    return f"{core}, {_absence(absent, rng)}"


def _request(known: dict[str, object], absent: tuple[str, ...], rng: Rng) -> str:
    lead = rng.pick(("make it", "give me", "I want", "accompany me with", "add", "play"))
    thing = _join(_names(known, rng, 3), rng)
    if lead == "make it":
        return f"make it {known['mood']} and {known['tempo_word']}, {known['style_word']} with {thing}"
    return f"{lead} {thing}"


def _finish(text: str, rng: Rng) -> str:
    """Capitals and full stops as people leave them or not."""
    draw = rng.unit()
    if draw < 0.3:
        return text[0].upper() + text[1:] + rng.pick((".", ""))
    if draw < 0.34:
        return text.upper()
    return text.lower() if draw < 0.7 else text
