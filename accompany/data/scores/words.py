"""Text normalisation: printed syllables to singable ones."""

from __future__ import annotations

import unicodedata

_LONGEST = 12


def sung_syllable(printed: str) -> str:
    """A printed syllable in lower-case letters: without verse numbers, hyphens and punctuation; "" if nothing is left.

    Apostrophes inside stay ("don't", "l'a").
    """
    text = unicodedata.normalize("NFC", printed).lower().replace("’", "'").replace("‘", "'")
    letters = "".join(letter for letter in text if letter.isalpha() or letter == "'")
    return letters.strip("'")[:_LONGEST]
