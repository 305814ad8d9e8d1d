"""Captions: many wordings of what a song is, from one set of facts."""

from __future__ import annotations

from accompany.data.songs.score import Part
from accompany.data.songs.dice import Dice
from accompany.data.songs.form import Form
from accompany.data.songs.instruments import FAMILIES, INSTRUMENTS

_TEMPO_WORDS = (
    (70, ("very slow", "slow")), (86, ("slow", "laid-back", "relaxed")), (104, ("mid-tempo", "moderate", "walking pace")),
    (126, ("mid-tempo", "upbeat", "lively")), (150, ("fast", "upbeat", "brisk")), (999, ("very fast", "fast", "frantic")),
)  # fmt: skip
_SUPPORT = ("accompaniment", "backing", "backing track", "arrangement", "band", "instrumental")
_BASSY = frozenset({"synth bass", "electric bass", "upright bass"})


def facts(form: Form, parts: tuple[Part, ...], dice: Dice) -> dict[str, object]:
    """The facts that captions speak of: style, mood, tempo, density, instruments."""
    pulse = form.tempo_bpm * (1.4 if form.metre.compound else 1.0)
    words = next(words for limit, words in _TEMPO_WORDS if pulse < limit)
    rate = sum(len(part.notes) for part in parts) / form.duration_s
    density = "sparse" if rate < 7 else "full" if rate < 26 else "busy"
    return {
        "style": form.style.name,
        "style_word": dice.pick(form.style.words),
        "mood": dice.pick(form.style.moods),
        "tempo_word": dice.pick(words),
        "density": density,
        "mode": form.mode,
        "instruments": [part.name for part in parts],
        "families": sorted({INSTRUMENTS[part.name].family for part in parts}),
        "roles": {part.name: part.role for part in parts},
    }


def absent_families(parts: tuple[Part, ...], dice: Dice) -> tuple[str, ...]:
    """Families that the captions may call absent: drums first where there are none, and up to two others."""
    present = {INSTRUMENTS[part.name].family for part in parts}
    if "percussion" in present:
        present.add("drums")
    absent = ["drums"] if "drums" not in present else []
    others = [name for name in ("piano", "guitar", "strings", "bass", "synth", "brass", "organ") if name not in present]
    absent += dice.shuffled(others)[: dice.integer(0, 2)]
    return tuple(name for name in absent if name in FAMILIES)


def write_captions(known: dict[str, object], absent: tuple[str, ...], dice: Dice, *, count: int = 8) -> tuple[str, ...]:
    """`count` different captions, long and short, in several manners of writing."""
    makers = (_sentence, _telegraph, _instruments_only, _one_instrument, _style_only, _band_of, _with_absence, _request)
    captions: list[str] = []
    for maker in makers * 3:
        text = _finish(maker(known, absent, dice), dice)
        if text and text not in captions:
            captions.append(text)
        if len(captions) == count:
            break
    return tuple(captions)


def _names(known: dict[str, object], dice: Dice, most: int = 6) -> list[str]:
    """Wordings of some of the instruments."""
    instruments = dice.shuffled(list(known["instruments"]))[:most]  # type: ignore[call-overload]
    return [_wording(name, dice) for name in instruments]


def _wording(name: str, dice: Dice) -> str:
    return name if dice.chance(0.55) else dice.pick(INSTRUMENTS[name].words)


def _join(names: list[str], dice: Dice) -> str:
    if len(names) == 1:
        return names[0]
    if dice.chance(0.25):
        return ", ".join(names)
    return ", ".join(names[:-1]) + dice.pick((" and ", " and ", " & ", " plus ")) + names[-1]


def _article(text: str) -> str:
    return ("an " if text[0].lower() in "aeiou" else "a ") + text


def _absence(absent: tuple[str, ...], dice: Dice) -> str:
    if not absent:
        return ""
    return dice.pick(("no ", "no ", "without ", "without any ")) + absent[0]


def _sentence(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    adjectives = dice.shuffled([str(known["mood"]), str(known["tempo_word"]), str(known["density"])])
    lead = " ".join([*adjectives[: dice.integer(1, 2)], str(known["style_word"])])
    tail = f", {_absence(absent, dice)}" if absent and dice.chance(0.5) else ""
    return f"{_article(lead)} {dice.pick(_SUPPORT)} with {_join(_names(known, dice), dice)}{tail}"


def _telegraph(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    names = _names(known, dice, 3)
    adjective = dice.pick((str(known["mood"]), "warm", "soft", "gentle", "")) if known["density"] != "busy" else ""
    names[0] = f"{adjective} {names[0]}".strip()
    return ", ".join(names)


def _instruments_only(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    return _join(_names(known, dice), dice)


def _one_instrument(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    name = _names(known, dice, 1)[0]
    if len(known["instruments"]) == 1:  # type: ignore[arg-type]
        return dice.pick((f"just {name}", f"solo {name}", f"only {name}", f"{name} alone", f"{name} accompaniment"))
    return dice.pick((name, f"{known['style_word']} with {name}", f"featuring {name}", f"{known['mood']} {name}"))


def _style_only(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    style, mood, tempo = known["style_word"], known["mood"], known["tempo_word"]
    return dice.pick((f"{style}", f"{mood} {style}", f"{tempo} {style}", f"{tempo}, {mood} {style}", f"{style}, {mood}"))


def _band_of(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    count = len(known["instruments"])  # type: ignore[arg-type]
    size = {1: "solo", 2: "duo", 3: "trio", 4: "quartet", 5: "quintet"}.get(count, "band")
    return f"{known['mood']} {known['style_word']} {size}: {_join(_names(known, dice), dice)}"


def _with_absence(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    if not absent:
        return f"{known['tempo_word']} {known['style_word']} groove, {_join(_names(known, dice, 2), dice)}"
    core = dice.pick((str(known["style_word"]), _join(_names(known, dice, 2), dice)))
    if absent[0] == "drums" and dice.chance(0.25):
        electric = {"synth", "pad", "electric piano"} & set(known["families"])  # type: ignore[call-overload]
        return f"{core}, drumless" if electric else f"unplugged {core}"
    if len(absent) > 1 and dice.chance(0.4):
        return f"{core}, no {absent[0]} and no {absent[1]}"
    return f"{core}, {_absence(absent, dice)}"


def _request(known: dict[str, object], absent: tuple[str, ...], dice: Dice) -> str:
    lead = dice.pick(("make it", "give me", "I want", "accompany me with", "add", "play"))
    thing = _join(_names(known, dice, 3), dice)
    if lead == "make it":
        return f"make it {known['mood']} and {known['tempo_word']}, {known['style_word']} with {thing}"
    return f"{lead} {thing}"


def _finish(text: str, dice: Dice) -> str:
    """Capitals and full stops as people leave them or not."""
    draw = dice.unit()
    if draw < 0.3:
        return text[0].upper() + text[1:] + dice.pick((".", ""))
    if draw < 0.34:
        return text.upper()
    return text.lower() if draw < 0.7 else text
