"""Style words of a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_DENIALS = (
    "no", "not", "non", "nor", "neither", "never", "without", "less", "avoid", "don't", "isn't", "anything but",
    "instead of", "rather than", "not in the style of",
)  # fmt: skip

_JOINING = (
    "with", "without", "and", "or", "plus", "featuring", "for", "on", "over", "by", "in", "no", "from", "using",
    "but", "just", "only",
)  # fmt: skip
"""Ends of a phrase: "jazz with piano" is jazz, "jazz grand piano" is an instrument."""

_ENSEMBLES = ("music", "song", "track", "solo", "duo", "trio", "quartet", "quintet", "band", "ensemble", "combo")
"""After an instrument these make it the music again: "gospel choir music", "jazz piano trio"."""

_MANNERS = frozenset({"funky", "soulful", "cinematic", "orchestral", "dance", "simple song"})
"""Wordings that also say how another style is played: they name a style where no other word does."""

_PLAYER = "\N{EIGHTH NOTE}"
"""Stands for an instrument in a text whose instruments are taken out."""


def named_styles(prompt: str) -> frozenset[str]:
    """The styles (keys of `accompany.data.songs.styles.STYLES`) that a prompt names.

    They are found by the wordings of the synthetic captions, with and without hyphens. Left out are styles that are
    denied ("not rock", "without any pop or metal"), that only describe an instrument ("jazz guitar", "bossa double
    bass"), or that stand before another one in one name ("soulful gospel", "jazz blues").
    """
    text = _instruments().sub(_PLAYER, _plain(prompt))
    found: dict[str, str] = {}
    rest, denied = 0, False
    for start, end, word in _names(text):
        goes_on = denied and re.fullmatch(r",? n?or ", text[rest:start]) is not None
        denied = goes_on or _is_denied(text[:start])
        if not denied and not _describes(text[end:]):
            found[word] = _styles_of()[word]
        rest = end
    firm = {style for word, style in found.items() if word not in _MANNERS}
    return frozenset(firm or found.values())


def _names(text: str) -> list[tuple[int, int, str]]:
    """Start, end and last wording of every run of wordings: "soulful gospel" is one, and about gospel."""
    names: list[tuple[int, int, str]] = []
    for match in _wordings().finditer(text):
        goes_on = bool(names) and text[names[-1][1] : match.start()] == " "
        start = names.pop()[0] if goes_on else match.start()
        names.append((start, match.end(), match[0]))
    return names


def _plain(text: str) -> str:
    """Lower case, hyphens as spaces, single spaces."""
    return " ".join(text.lower().replace("-", " ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())


def _is_denied(before: str) -> bool:
    """Whether the text before a style ends in a denial, with at most three words of the same phrase between."""
    return re.search(rf"\b({'|'.join(_DENIALS)}) ((?!({'|'.join(_JOINING)}) )[\w']+ ){{0,3}}$", before) is not None


def _describes(after: str) -> bool:
    """Whether a style with this text after it only describes an instrument, "jazz piano" or "bossa muted guitar"."""
    played = rf" ((?!({'|'.join(_JOINING)}) )\w+ )?{_PLAYER}(?! ({'|'.join(_ENSEMBLES)})\b)"
    return re.match(played, after) is not None


@lru_cache(maxsize=1)
def _styles_of() -> dict[str, str]:
    """Each wording and the style that it stands for."""
    from accompany.data.songs.styles import STYLES

    return {_plain(word): name for name, style in STYLES.items() for word in (name, *style.words)}


@lru_cache(maxsize=1)
def _wordings() -> re.Pattern[str]:
    return _any_of(_styles_of())


@lru_cache(maxsize=1)
def _instruments() -> re.Pattern[str]:
    from accompany.data.songs.instruments import FAMILIES, INSTRUMENTS

    words = {word for name, each in INSTRUMENTS.items() for word in (name, *each.words)}
    return _any_of({_plain(word) for word in words.union(FAMILIES)})


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """The longest of the words that stands at a place, as a whole word."""
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    return re.compile(rf"(?<![\w&'])(?:{'|'.join(map(re.escape, longest_first))})(?![\w&])")
