"""Language detection for lyrics, by common short words."""

from __future__ import annotations

from collections.abc import Iterable

_COMMON = {
    "en-us": "the and of to in my you i is with for that thy thou me on your when all love but not shall we so be this",
    "de": "der die das und ich nicht du mir ein ist zu dich es mich mein wie in so den mit auf wenn sie wir ihr im von",
    "fr": "le la les de et je tu que dans un une vous mon pas ne est des sur du qui pour ce ma mes au si plus en comme",
    "it": "il che di e la non per mi un io tu con del amor mio ti si core le una della al questo sei dove",
    "es": "el la que de y en no los un por mi con se amor una tu del las es te al lo como su para cuando",
    "sv": "och i det som en jag är du så den för inte mig av på till han med din min vi ej",
    "da": "og i det som en jeg er du så den for ikke mig af på til han med din min vi ej",
    "ru": "и в не на я что он с как ты но мне все то",
    "pl": "i w nie na się że z do jak to mi ja ty a po za od",
    "la": "et in ad ave maria qui est non cum deus domine gloria nobis sanctus dona pacem nostra",
}
_TABLE = {voice: frozenset(words.split()) for voice, words in _COMMON.items()}
_FEWEST_WORDS = 8
_LEAST_SHARE = 0.12
_LEAD = 1.25


def guess_language(words: Iterable[str]) -> str:
    """The espeak-ng voice of the language of some words; "" where none stands out.

    Args:
        words: whole words as printed.
    """
    plain = [word.strip(" .,;:!?\"'()«»„“”’–\u2014-").lower() for word in words]
    known = [word for word in plain if word]
    if len(known) < _FEWEST_WORDS:
        return ""
    hits = sorted(((sum(word in table for word in known), voice) for voice, table in _TABLE.items()), reverse=True)
    (best, voice), (second, _) = hits[0], hits[1]
    return voice if best >= _LEAST_SHARE * len(known) and best >= _LEAD * second else ""
