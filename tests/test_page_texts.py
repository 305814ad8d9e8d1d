"""The words of the page: every language has every text, with the same values in it, and the page asks for no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "accompany" / "serve" / "page"
LANGUAGES = ("en", "ko", "zh")


def texts(language: str) -> dict[str, str]:
    """The texts of a file, which is JSON but for its first words."""
    content = (PAGE / f"text-{language}.js").read_text(encoding="utf-8")
    return json.loads(content.removeprefix("export default ").rstrip().removesuffix(";"))


def asked() -> set[str]:
    """Every key that the page names, in HTML attributes and in calls of `t`."""
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    found = set(re.findall(r'data-t(?:-\w+)?="(\w+)"', html))
    for script in PAGE.glob("*.js"):
        words = script.read_text(encoding="utf-8")
        for call in re.findall(r"\bt\(([^{)]*)", words):
            found |= set(re.findall(r'"([a-z_]+)"', call))
    found |= set(re.findall(r'"(style_\w+)"', (PAGE / "words.js").read_text(encoding="utf-8")))
    grids = (PAGE / "grid.js").read_text(encoding="utf-8")
    return found | set(re.findall(r"^  (\w+): \(beats\)", grids, re.M))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text(language: str) -> None:
    own, english = texts(language), texts("en")
    assert list(own) == list(english)
    for key, text in own.items():
        assert text.strip(), key
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key])), key
    other = sum(own[key] != english[key] for key in own)
    assert language == "en" or other > 0.95 * len(own)


def test_the_page_asks_for_texts_that_there_are() -> None:
    known = set(texts("en"))
    minor = {"major", "minor"}  # named by the keys of words.js
    assert asked() - known - {"min"} == set()
    assert known - asked() - minor == set(), "texts that nothing shows"


def test_no_text_stands_in_the_page_itself() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    body = re.sub(r"<(code|h1|option|title)[^>]*>.*?</\1>", "", html[html.index("<body") :], flags=re.S)
    shown = {text.strip() for text in re.findall(r">([^<]+)<", body)} - {""}
    assert shown <= {"API", "◐", "▶", "A", "B", "0:00", "0:00.0", "0 dB", "s"}
