"""Drum grooves as strings of steps, with fills, crashes and small variations."""

from __future__ import annotations

from typing import NamedTuple

from accompany.data.songs.dice import Dice
from accompany.data.songs.form import Form
from accompany.data.songs.grid import Section


class Event(NamedTuple):
    """A note on the beat grid: start and length in beats, MIDI pitch, velocity, and a shift in seconds."""

    start: float
    length: float
    pitch: int
    velocity: float
    lag_s: float = 0.0


KICK, STICK, SNARE, CLAP, HAT, PEDAL, OPEN, RIDE, BELL, CRASH = 36, 37, 38, 39, 42, 44, 46, 51, 53, 49
TOMS = (50, 48, 47, 45, 43, 41)
SHAKER, TAMBOURINE, COWBELL, CABASA, CLAVE = 82, 54, 56, 69, 75
CONGA_MUTE, CONGA_HIGH, CONGA_LOW, BONGO_HIGH, BONGO_LOW, TIMBALE = 62, 63, 64, 60, 61, 65

Line = tuple[int, str]
Groove = tuple[Line, ...]
_VELOCITY = {"x": 92.0, "X": 112.0, "g": 42.0, "s": 70.0, "o": 85.0}

_EIGHTHS, _QUARTERS, _SIXTEENTHS = "x.s.x.s.x.s.x.s.", "x...x...x...x...", "xgsgxgsgxgsgxgsg"
_BACK = "....X.......X..."

_FOUR: dict[str, tuple[Groove, ...]] = {
    "backbeat": (
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.......X.......")),
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.....x.X.......")),
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.......X.x.....")),
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X..x....X.x.....")),
    ),
    "backbeat busy": (
        ((HAT, _SIXTEENTHS), (SNARE, "....X..g.g..X..g"), (KICK, "X..x..x...x.....")),
        ((HAT, _EIGHTHS), (SNARE, "....X..g....X..."), (KICK, "X.....x...x..x..")),
        ((HAT, _SIXTEENTHS), (SNARE, _BACK), (KICK, "X.x.......x..x..")),
    ),
    "rock": (
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.......X.X.....")),
        ((HAT, _QUARTERS), (SNARE, _BACK), (KICK, "X.x.....X.x.....")),
        ((OPEN, _QUARTERS), (SNARE, _BACK), (KICK, "X.....x.X.x.....")),
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.x...x...x.....")),
    ),
    "rock busy": (
        ((RIDE, _EIGHTHS), (SNARE, _BACK), (KICK, "X.x...x.X.x...x.")),
        ((OPEN, _QUARTERS), (SNARE, "....X.......X.g."), (KICK, "X..x..x...xx....")),
    ),
    "punk": (
        ((HAT, _EIGHTHS), (SNARE, "..X...X...X...X."), (KICK, "X...X...X...X...")),
        ((OPEN, _QUARTERS), (SNARE, _BACK), (KICK, "X.xx..x.X.xx..x.")),
    ),
    "half time": (
        ((HAT, _EIGHTHS), (SNARE, "........X......."), (KICK, "X.....x.........")),
        ((HAT, _EIGHTHS), (SNARE, "........X......."), (KICK, "X..x......x...x.")),
        ((RIDE, _QUARTERS), (SNARE, "........X......."), (KICK, "X.............x.")),
    ),
    "four on the floor": (
        ((KICK, _QUARTERS.upper().replace(".", ".")), (HAT, "..x...x...x...x."), (SNARE, _BACK)),
        ((KICK, _QUARTERS), (OPEN, "..x...x...x...x."), (HAT, _QUARTERS), (CLAP, _BACK)),
        ((KICK, _QUARTERS), (HAT, _SIXTEENTHS), (SNARE, _BACK)),
    ),
    "house": (
        ((KICK, "X...X...X...X..."), (OPEN, "..x...x...x...x."), (CLAP, _BACK), (SHAKER, "sgsgsgsgsgsgsgsg")),
        ((KICK, "X...X...X...X..."), (OPEN, "..x...x...x...x."), (SNARE, _BACK), (HAT, "s..s.s.ss..s.s.s")),
    ),
    "electro": (((KICK, "X..x..x.....x..."), (SNARE, _BACK), (HAT, _SIXTEENTHS)), ((KICK, "X.....x.x..x...."), (CLAP, _BACK), (HAT, _EIGHTHS))),
    "breakbeat": (((KICK, "X.x.......xx...."), (SNARE, "....X..g.g..X..g"), (HAT, _EIGHTHS)), ((KICK, "X.x.......x....."), (SNARE, "....X..x.x....X."), (RIDE, _EIGHTHS))),
    "synthwave": (((KICK, "X...X...X...X..."), (SNARE, "....X.......X..."), (HAT, _EIGHTHS)), ((KICK, "X.....x.X.....x."), (SNARE, _BACK), (HAT, _SIXTEENTHS))),
    "sidestick": (
        ((HAT, _EIGHTHS), (STICK, "....x.......x..."), (KICK, "X.......X.......")),
        ((HAT, _EIGHTHS), (STICK, "....x.......x..."), (KICK, "X.....x.....x...")),
    ),
    "tom beat": (
        ((TOMS[5], "X..x..x.X..x..x."), (SNARE, _BACK), (KICK, "X.......X.......")),
        ((TOMS[4], "x.x.x.x.x.x.x.x."), (KICK, "X...X...X...X..."), (SNARE, "............X...")),
    ),
    "soft brushes": (
        ((SNARE, "s.g.x.g.s.g.x.g."), (KICK, "x.......x.......")),
        ((SNARE, "g...x..gg...x..."), (HAT, "..s...s...s...s."), (KICK, "x.......x.......")),
        ((SHAKER, "s.x.s.x.s.x.s.x."), (KICK, "x.......x......."), (STICK, "....s.......s...")),
    ),
    "train": (((SNARE, "s.gxs.gxs.gxs.gx"), (KICK, "x...x...x...x...")), ((SNARE, "sgxgsgxgsgxgsgxg"), (KICK, "X.......X......."), (PEDAL, "....x.......x..."))),
    "stomp": (((KICK, "X...X...X...X..."), (CLAP, _BACK)), ((KICK, "X.......X......."), (TAMBOURINE, "....X.......X..."))),
    "country": (((HAT, _EIGHTHS), (STICK, "....x.......x..."), (KICK, "X.......X.......")), ((HAT, "..x...x...x...x."), (SNARE, _BACK), (KICK, "X...x...X...x..."))),
    "ballad": (((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.......x.......")), ((HAT, _QUARTERS), (STICK, "........x......."), (KICK, "X.........x....."))),
    "soul": (
        ((HAT, _EIGHTHS), (SNARE, "....X..g.g..X..."), (KICK, "X..x......x.....")),
        ((HAT, _SIXTEENTHS), (SNARE, "....X.......X..g"), (KICK, "X.....x..xx.....")),
        ((HAT, _EIGHTHS), (STICK, "....x.......x.x."), (KICK, "X..x...x..x.....")),
    ),
    "motown": (((SNARE, "X...X...X...X..."), (KICK, "X.x.....X.x....."), (TAMBOURINE, _EIGHTHS)), ((SNARE, _BACK), (KICK, "X.....x.X.x....."), (TAMBOURINE, _SIXTEENTHS))),
    "funk": (
        ((HAT, _SIXTEENTHS), (SNARE, "....X..g.g.gX..g"), (KICK, "X.x...x...x..x..")),
        ((HAT, _EIGHTHS), (SNARE, "....X..g.g..X..."), (KICK, "X..x...x..x..x..")),
        ((HAT, "x.x.x.x.x.x.x..."), (OPEN, "..............x."), (SNARE, "....X.......X..g"), (KICK, "X......x..x.....")),
    ),
    "funk busy": (((HAT, _SIXTEENTHS), (SNARE, "..g.X..g.gg.X.gg"), (KICK, "X.x....x..xx....")),),
    "hip hop": (
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X......x..x.....")),
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.x.......x..x..")),
    ),
    "boom bap": (((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X..x....x.x.....")), ((HAT, "x.s.x.s.x.s.x.ss"), (SNARE, "....X.......X..g"), (KICK, "X.........xx...."))),
    "trap": (
        ((HAT, "x.s.x.s.x.ssx.s."), (CLAP, "........X......."), (SNARE, "........X......."), (KICK, "X.....x...x.....")),
        ((HAT, "x.s.x.s.xsssx.ss"), (SNARE, "........X......."), (KICK, "X..x......x..x..")),
    ),
    "one drop": (((HAT, "x.s.x.s.x.s.x.s."), (KICK, "........X......."), (STICK, "........X.......")), ((HAT, _EIGHTHS), (KICK, "........X......."), (STICK, "..g.....X..g..g."))),
    "steppers": (((HAT, _EIGHTHS), (KICK, _QUARTERS), (STICK, "........X.......")),),
    "rockers": (((HAT, _EIGHTHS), (KICK, "X.......X......."), (SNARE, _BACK)),),
    "jazz ride": (
        ((RIDE, "x...x.s.x...x.s."), (PEDAL, "....x.......x..."), (KICK, "g...g...g...g...")),
        ((RIDE, "x...x.s.x...x.s."), (PEDAL, "....x.......x..."), (SNARE, "......g.........")),
        ((RIDE, "x...x.s.x...x.s."), (PEDAL, "....x.......x..."), (SNARE, "..g...........g."), (KICK, "..........g.....")),
    ),
    "jazz brushes": (((SNARE, "s...x.g.s...x.g."), (PEDAL, "....x.......x..."), (KICK, "g.......g.......")), ((SNARE, "s.g.x...s.g.x..."), (PEDAL, "....x.......x..."))),
    "jazz shuffle": (((RIDE, "x.s.x.s.x.s.x.s."), (SNARE, _BACK.lower()), (KICK, "x...x...x...x...")),),
    "shuffle": (
        ((HAT, "x.s.x.s.x.s.x.s."), (SNARE, _BACK), (KICK, "X.......X.x.....")),
        ((RIDE, "x.s.x.s.x.s.x.s."), (SNARE, _BACK), (KICK, "X...x...X...x...")),
    ),
    "bossa": (
        ((HAT, _EIGHTHS), (STICK, "x..x..x...x..x.."), (KICK, "x..xx..xx..xx..x")),
        ((SHAKER, "xgsgxgsgxgsgxgsg"), (STICK, "x..x..x...x..x.."), (KICK, "x.....x.x.....x.")),
        ((HAT, _EIGHTHS), (STICK, "x..x..x...x..x.."), (KICK, "x.....x.x.....x.")),
    ),
    "samba soft": (((SHAKER, "xgsxxgsxxgsxxgsx"), (KICK, "s..xX..xs..xX..x"), (STICK, "..x..x.x..x..x..")),),
    "latin": (
        ((CONGA_MUTE, "x.....x.x.....x."), (CONGA_HIGH, "....x.......x..."), (CONGA_LOW, "......xx......xx"), (SHAKER, _EIGHTHS), (KICK, "......x.......x.")),
        ((CONGA_MUTE, "x...x...x...x..."), (CONGA_LOW, "......xx......xx"), (CLAVE, "x..x..x...x.x..."), (COWBELL, _QUARTERS), (KICK, "......x.......x.")),
    ),
    "reggaeton": (((KICK, "X...X...X...X..."), (SNARE, "...x..x....x..x."), (HAT, _EIGHTHS)), ((KICK, "X...X...X...X..."), (STICK, "...x..x....x..x."), (SHAKER, _SIXTEENTHS))),
    "bolero": (((BONGO_HIGH, "x.ssx.s.x.s.x.s."), (BONGO_LOW, "............x.x."), (SHAKER, _EIGHTHS), (KICK, "x.......x.......")),),
    "metal": (
        ((OPEN, _QUARTERS), (SNARE, _BACK), (KICK, "X.xxX.xxX.xxX.xx")),
        ((RIDE, _QUARTERS), (SNARE, _BACK), (KICK, "XxXxXxXxXxXxXxXx")),
        ((OPEN, _QUARTERS), (SNARE, "........X......."), (KICK, "X..X..X..X..X...")),
    ),
    "epic toms": (
        ((TOMS[5], "X.....x.X...x.x."), (TOMS[4], "..........x....."), (KICK, "X.......X.......")),
        ((TOMS[5], "X..x..x.x.x.x.x."), (KICK, "X..............."), (SNARE, "............X...")),
    ),
    "waltz": (((HAT, _QUARTERS), (SNARE, _BACK), (KICK, "X.......X.......")),),
}  # fmt: skip

_THREE: tuple[Groove, ...] = (
    ((KICK, "X..........."), (SNARE, "....x...x..."), (HAT, "x.s.x.s.x.s.")),
    ((KICK, "X..........."), (STICK, "....s...s..."), (HAT, "x...x...x...")),
    ((KICK, "X.........x."), (SNARE, "........X..."), (HAT, "x.s.x.s.x.s.")),
    ((RIDE, "x...x.s.x.s."), (PEDAL, "....x...x..."), (KICK, "x...........")),
    ((SNARE, "s.g.x.g.x.g."), (KICK, "x...........")),
)
_SIX: tuple[Groove, ...] = (
    ((KICK, "X....."), (SNARE, "...X.."), (HAT, "xssxss")),
    ((KICK, "X....x"), (SNARE, "...X.."), (HAT, "xssxss")),
    ((KICK, "X....."), (STICK, "...x.."), (RIDE, "xssxss")),
    ((KICK, "x....."), (SNARE, "s.gx.g")),
    ((KICK, "X..x.."), (SHAKER, "xssxss"), (CLAP, "...X..")),
)
_TWELVE: tuple[Groove, ...] = (
    ((KICK, "X.....x....."), (SNARE, "...X.....X.."), (HAT, "xssxssxssxss")),
    ((KICK, "X....xx....."), (SNARE, "...X.....X.."), (HAT, "xssxssxssxss")),
    ((KICK, "X.....x....x"), (STICK, "...x.....x.."), (RIDE, "xssxssxssxss")),
    ((KICK, "X.....x....."), (SNARE, "...X.....X.."), (HAT, "x.sx.sx.sx.s")),
)
_BY_METRE = {"3/4": _THREE, "6/8": _SIX, "12/8": _TWELVE}


def play_drums(form: Form, base: str, dice: Dice, *, soft: bool) -> list[Event]:
    """The drum part of a song: a groove for each kind of section, fills before the next one, crashes after.

    Args:
        form: the song's plan.
        base: name of the groove, for 4/4.
        dice: random draws.
        soft: brushes and hand drums: no crashes, quiet fills.
    """
    grooves: dict[str, Groove] = {}
    events: list[Event] = []
    fills = dice.chance(0.85)
    quiet_intro = dice.chance(0.5)
    for index, section in enumerate(form.sections):
        if section.name == "intro" and quiet_intro:
            continue
        if section.name not in grooves:
            grooves[section.name] = _groove(form, section, base, dice)
        groove = grooves[section.name]
        if index and not soft and section.intensity > 0.6 and dice.chance(0.7):
            events.append(Event(section.start_bar * form.metre.beats, 2.0, CRASH, 100))
        for bar in range(section.bars):
            fill = fills and bar == section.bars - 1 and dice.chance(0.7)
            fill = fill or (bar % 4 == 3 and dice.chance(0.12))
            events += _bar(form, section, section.start_bar + bar, groove, dice, fill=fill, soft=soft)
    return _clean(events)


def _groove(form: Form, section: Section, base: str, dice: Dice) -> Groove:
    if form.metre.label != "4/4":
        return dice.pick(_BY_METRE[form.metre.label])
    groove = dice.pick(_FOUR[base])
    if section.intensity > 0.75 and dice.chance(0.4):
        groove = tuple((RIDE if pitch == HAT else pitch, steps) for pitch, steps in groove)
    if section.intensity < 0.45 and dice.chance(0.4):
        groove = tuple((STICK if pitch == SNARE else pitch, steps) for pitch, steps in groove)
    return groove


def _bar(form: Form, section: Section, bar: int, groove: Groove, dice: Dice, *, fill: bool, soft: bool) -> list[Event]:
    beats, steps = form.metre.beats, form.metre.steps
    origin = bar * beats
    stop = beats - dice.pick((1, 1, 2)) if fill else beats
    level = 0.75 + 0.3 * section.intensity
    events: list[Event] = []
    for pitch, line in groove:
        for step, mark in enumerate(line):
            at = step / steps
            if mark == "." or at >= stop or (mark == "g" and dice.chance(0.25)):
                continue
            if pitch == KICK and step and dice.chance(0.04):
                continue
            events.append(Event(origin + at, 0.2, pitch, _VELOCITY[mark.lower() if soft else mark] * level))
    if dice.chance(0.08):
        step = dice.integer(1, beats * steps - 1)
        events.append(Event(origin + step / steps, 0.2, KICK, 70 * level))
    if fill:
        events += _fill(origin + stop, origin + beats, steps, level, dice, soft=soft)
    return events


def _fill(start: float, end: float, steps: int, level: float, dice: Dice, *, soft: bool) -> list[Event]:
    """A fill over the last beat or two: snare, then down the toms."""
    count = round((end - start) * steps)
    kind = dice.pick(("toms", "snare", "mixed"))
    events: list[Event] = []
    for index in range(count):
        if steps == 4 and index % 2 and dice.chance(0.4):
            continue
        share = index / count
        tom = TOMS[min(5, int(share * 5))]
        pitch = SNARE if kind == "snare" or (kind == "mixed" and share < 0.4) else tom
        velocity = (58 if soft else 80) + 25 * share
        events.append(Event(start + index / steps, 0.2, pitch, velocity * level))
    events.append(Event(start, 0.2, KICK, 85 * level))
    return events


def play_percussion(form: Form, dice: Dice) -> list[Event]:
    """Shaker, tambourine or congas that stay the same through a song."""
    kind = dice.pick(("shaker", "tambourine", "congas"))
    steps, beats = form.metre.steps, form.metre.beats
    events: list[Event] = []
    for bar in range(form.n_bars):
        if form.section_at(bar * beats).name == "intro":
            continue
        for step in range(beats * steps):
            event = _percussion_hit(kind, step, steps, beats)
            if event is not None:
                events.append(Event(bar * beats + step / steps, 0.15, *event))
    return events


def _percussion_hit(kind: str, step: int, steps: int, beats: int) -> tuple[int, float] | None:
    on_beat = step % steps == 0
    if kind == "shaker":
        return SHAKER, 70.0 if on_beat else 45.0
    if kind == "tambourine":
        backbeat = on_beat and (step // steps) % 2 == 1
        return (TAMBOURINE, 80.0) if backbeat or (beats == 3 and on_beat and step) else None
    pattern = {0: (CONGA_MUTE, 60.0), steps: (CONGA_HIGH, 80.0), 2 * steps - 1: (CONGA_LOW, 70.0)}
    return pattern.get(step % (2 * steps))


def _clean(events: list[Event]) -> list[Event]:
    """Sorted, and never the same drum twice at once."""
    seen: dict[tuple[float, int], Event] = {}
    for event in events:
        key = (round(event.start, 4), event.pitch)
        if key not in seen or seen[key].velocity < event.velocity:
            seen[key] = event
    return sorted(seen.values())
