"""Drum grooves as strings of steps: x hit, X accent, s soft, g ghost; sixteen steps a bar of 4/4.

The pitches are General MIDI drum keys.
"""

from __future__ import annotations

KICK, STICK, SNARE, CLAP, HAT, PEDAL, OPEN, RIDE, CRASH = 36, 37, 38, 39, 42, 44, 46, 51, 49
TOMS = (50, 48, 47, 45, 43, 41)
SHAKER, TAMBOURINE, COWBELL, CLAVE = 82, 54, 56, 75
CONGA_MUTE, CONGA_HIGH, CONGA_LOW, BONGO_HIGH, BONGO_LOW = 62, 63, 64, 60, 61

Line = tuple[int, str]
Groove = tuple[Line, ...]

_EIGHTHS, _QUARTERS, _SIXTEENTHS = "x.s.x.s.x.s.x.s.", "x...x...x...x...", "xgsgxgsgxgsgxgsg"
_BACK = "....X.......X..."

FOUR: dict[str, tuple[Groove, ...]] = {
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
        ((KICK, _QUARTERS), (HAT, "..x...x...x...x."), (SNARE, _BACK)),
        ((KICK, _QUARTERS), (OPEN, "..x...x...x...x."), (HAT, _QUARTERS), (CLAP, _BACK)),
        ((KICK, _QUARTERS), (HAT, _SIXTEENTHS), (SNARE, _BACK)),
    ),
    "house": (
        ((KICK, "X...X...X...X..."), (OPEN, "..x...x...x...x."), (CLAP, _BACK), (SHAKER, "sgsgsgsgsgsgsgsg")),
        ((KICK, "X...X...X...X..."), (OPEN, "..x...x...x...x."), (SNARE, _BACK), (HAT, "s..s.s.ss..s.s.s")),
    ),
    "electro": (
        ((KICK, "X..x..x.....x..."), (SNARE, _BACK), (HAT, _SIXTEENTHS)),
        ((KICK, "X.....x.x..x...."), (CLAP, _BACK), (HAT, _EIGHTHS)),
    ),
    "breakbeat": (
        ((KICK, "X.x.......xx...."), (SNARE, "....X..g.g..X..g"), (HAT, _EIGHTHS)),
        ((KICK, "X.x.......x....."), (SNARE, "....X..x.x....X."), (RIDE, _EIGHTHS)),
    ),
    "synthwave": (
        ((KICK, "X...X...X...X..."), (SNARE, "....X.......X..."), (HAT, _EIGHTHS)),
        ((KICK, "X.....x.X.....x."), (SNARE, _BACK), (HAT, _SIXTEENTHS)),
    ),
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
    "train": (
        ((SNARE, "s.gxs.gxs.gxs.gx"), (KICK, "x...x...x...x...")),
        ((SNARE, "sgxgsgxgsgxgsgxg"), (KICK, "X.......X......."), (PEDAL, "....x.......x...")),
    ),
    "stomp": (
        ((KICK, "X...X...X...X..."), (CLAP, _BACK)),
        ((KICK, "X.......X......."), (TAMBOURINE, "....X.......X...")),
    ),
    "country": (
        ((HAT, _EIGHTHS), (STICK, "....x.......x..."), (KICK, "X.......X.......")),
        ((HAT, "..x...x...x...x."), (SNARE, _BACK), (KICK, "X...x...X...x...")),
    ),
    "ballad": (
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.......x.......")),
        ((HAT, _QUARTERS), (STICK, "........x......."), (KICK, "X.........x.....")),
    ),
    "soul": (
        ((HAT, _EIGHTHS), (SNARE, "....X..g.g..X..."), (KICK, "X..x......x.....")),
        ((HAT, _SIXTEENTHS), (SNARE, "....X.......X..g"), (KICK, "X.....x..xx.....")),
        ((HAT, _EIGHTHS), (STICK, "....x.......x.x."), (KICK, "X..x...x..x.....")),
    ),
    "motown": (
        ((SNARE, "X...X...X...X..."), (KICK, "X.x.....X.x....."), (TAMBOURINE, _EIGHTHS)),
        ((SNARE, _BACK), (KICK, "X.....x.X.x....."), (TAMBOURINE, _SIXTEENTHS)),
    ),
    "funk": (
        ((HAT, _SIXTEENTHS), (SNARE, "....X..g.g.gX..g"), (KICK, "X.x...x...x..x..")),
        ((HAT, _EIGHTHS), (SNARE, "....X..g.g..X..."), (KICK, "X..x...x..x..x..")),
        (
            (HAT, "x.x.x.x.x.x.x..."),
            (OPEN, "..............x."),
            (SNARE, "....X.......X..g"),
            (KICK, "X......x..x....."),
        ),
    ),
    "funk busy": (((HAT, _SIXTEENTHS), (SNARE, "..g.X..g.gg.X.gg"), (KICK, "X.x....x..xx....")),),
    "hip hop": (
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X......x..x.....")),
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X.x.......x..x..")),
    ),
    "boom bap": (
        ((HAT, _EIGHTHS), (SNARE, _BACK), (KICK, "X..x....x.x.....")),
        ((HAT, "x.s.x.s.x.s.x.ss"), (SNARE, "....X.......X..g"), (KICK, "X.........xx....")),
    ),
    "trap": (
        (
            (HAT, "x.s.x.s.x.ssx.s."),
            (CLAP, "........X......."),
            (SNARE, "........X......."),
            (KICK, "X.....x...x....."),
        ),
        ((HAT, "x.s.x.s.xsssx.ss"), (SNARE, "........X......."), (KICK, "X..x......x..x..")),
    ),
    "one drop": (
        ((HAT, "x.s.x.s.x.s.x.s."), (KICK, "........X......."), (STICK, "........X.......")),
        ((HAT, _EIGHTHS), (KICK, "........X......."), (STICK, "..g.....X..g..g.")),
    ),
    "steppers": (((HAT, _EIGHTHS), (KICK, _QUARTERS), (STICK, "........X.......")),),
    "rockers": (((HAT, _EIGHTHS), (KICK, "X.......X......."), (SNARE, _BACK)),),
    "jazz ride": (
        ((RIDE, "x...x.s.x...x.s."), (PEDAL, "....x.......x..."), (KICK, "g...g...g...g...")),
        ((RIDE, "x...x.s.x...x.s."), (PEDAL, "....x.......x..."), (SNARE, "......g.........")),
        (
            (RIDE, "x...x.s.x...x.s."),
            (PEDAL, "....x.......x..."),
            (SNARE, "..g...........g."),
            (KICK, "..........g....."),
        ),
    ),
    "jazz brushes": (
        ((SNARE, "s...x.g.s...x.g."), (PEDAL, "....x.......x..."), (KICK, "g.......g.......")),
        ((SNARE, "s.g.x...s.g.x..."), (PEDAL, "....x.......x...")),
    ),
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
        (
            (CONGA_MUTE, "x.....x.x.....x."),
            (CONGA_HIGH, "....x.......x..."),
            (CONGA_LOW, "......xx......xx"),
            (SHAKER, _EIGHTHS),
            (KICK, "......x.......x."),
        ),
        (
            (CONGA_MUTE, "x...x...x...x..."),
            (CONGA_LOW, "......xx......xx"),
            (CLAVE, "x..x..x...x.x..."),
            (COWBELL, _QUARTERS),
            (KICK, "......x.......x."),
        ),
    ),
    "reggaeton": (
        ((KICK, "X...X...X...X..."), (SNARE, "...x..x....x..x."), (HAT, _EIGHTHS)),
        ((KICK, "X...X...X...X..."), (STICK, "...x..x....x..x."), (SHAKER, _SIXTEENTHS)),
    ),
    "bolero": (
        (
            (BONGO_HIGH, "x.ssx.s.x.s.x.s."),
            (BONGO_LOW, "............x.x."),
            (SHAKER, _EIGHTHS),
            (KICK, "x.......x......."),
        ),
    ),
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
}

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
_TWO: tuple[Groove, ...] = (
    ((KICK, "X......."), (SNARE, "....X..."), (HAT, "x.s.x.s.")),
    ((KICK, "X.....x."), (SNARE, "....X..."), (HAT, "x.x.x.x.")),
    ((KICK, "X...x..."), (SNARE, "..x...x."), (PEDAL, "..x...x.")),
    ((KICK, "x......."), (STICK, "....x..."), (RIDE, "x...x.s.")),
)
_NINE: tuple[Groove, ...] = (
    ((KICK, "X........"), (SNARE, "......X.."), (HAT, "xssxssxss")),
    ((KICK, "X....x..."), (SNARE, "...x..x.."), (HAT, "x.sx.sx.s")),
    ((KICK, "x........"), (STICK, "...s..s.."), (RIDE, "xssxssxss")),
)
BY_METRE = {"3/4": _THREE, "6/8": _SIX, "12/8": _TWELVE, "2/4": _TWO, "9/8": _NINE}
