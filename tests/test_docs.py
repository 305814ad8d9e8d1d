"""The README and docs/: commands parse, links lead somewhere, snippets compile and use names that exist."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import accompany
from accompany.commands.parser import build_parser
from accompany.errors import InputError

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDES = [README, *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]
"""The changelog names what is gone, too, so that its commands and paths are not checked."""
MOST_WORDS = 900

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)
_SEPARATE = re.compile(r"[;&|]+")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands() -> Iterator[Any]:
    """Every command line of accompany, in a code block or between backticks, as its words."""
    for page in GUIDES:
        text = page.read_text(encoding="utf-8")
        blocks = [block["text"] for block in _FENCE.finditer(text) if not block["language"]]
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += [" ".join(code.split()) for code in _INLINE.findall(_FENCE.sub("", text)) if _has_arguments(code)]
        for line in dict.fromkeys(lines):
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
            lexer.whitespace_split = True
            yield from (pytest.param(words, id=f"{name_of(page)}: {shlex.join(words)}") for words in _calls(lexer))


def _has_arguments(code: str) -> bool:
    """Whether inline code is a whole command line: a command named in passing has no options or values."""
    words = code.split()
    start = words.index("accompany") if "accompany" in words else len(words)
    return len(words) > start + 2 and all("=" in word for word in words[:start])


def _calls(words: Iterator[str]) -> Iterator[list[str]]:
    """The arguments of each call of accompany in a shell line; variables before it and redirections are left out."""
    call: list[str] = []
    for word in [*words, ";"]:
        if not _SEPARATE.fullmatch(word):
            call.append(word)
            continue
        while call and re.fullmatch(r"[A-Z_]+=\S*", call[0]):
            call.pop(0)
        if call and call[0] == "accompany":
            yield call[1 : call.index(">") if ">" in call else len(call)]
        call = []


@cache
def config_keys() -> set[str]:
    """The keys of all training configs, with dots between the levels."""

    def keys(content: Any, prefix: str) -> Iterator[str]:
        for key, value in content.items() if isinstance(content, dict) else ():
            yield prefix + key
            yield from keys(value, f"{prefix}{key}.")

    files = (ROOT / "accompany" / "configs").glob("*.yaml")
    return {key for file in files for key in keys(OmegaConf.to_container(OmegaConf.load(file)), "")}


def snippets() -> list[Any]:
    found = []
    for page in PAGES:
        blocks = [block for block in _FENCE.finditer(page.read_text(encoding="utf-8")) if block["language"] == "python"]
        found += [pytest.param(block["text"], id=f"{name_of(page)} {index}") for index, block in enumerate(blocks)]
    return found


def links(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {link["target"] for link in _LINK.finditer(text) if "://" not in link["target"]}


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def parse(words: list[str]) -> argparse.Namespace:
    """The arguments as the command line reads them: positional ones may follow options."""
    args, rest = build_parser().parse_known_args(words)
    if rest and (not args.more or any(word.startswith("-") for word in rest)):
        raise InputError(f"Unknown: {' '.join(rest)}")
    return args


@pytest.mark.parametrize("words", commands())
def test_command_lines_parse(words):
    args = parse(words)
    overrides = [word.partition("=")[0] for word in words if re.fullmatch(r"[a-z_.]+=.*", word)]
    if args.command in ("train", "tune"):
        assert set(overrides) <= config_keys()


def test_there_are_commands_and_snippets_to_check():
    """A change of the form of a page must not empty the tests of this file."""
    assert len(list(commands())) > 90 and len(snippets()) > 6


@pytest.mark.parametrize("text", ["accompany generate", "accompany generate a.wav --tempo 3", "accompany trian x"])
def test_a_wrong_command_line_is_found(text):
    (words,) = _calls(iter(shlex.split(text)))
    with pytest.raises(InputError):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    lost = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            lost.append(target)
    assert not lost


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_files_that_are_named_exist(page):
    """Paths of this repository in backticks, such as `accompany/music/plan.py`."""
    named = re.findall(r"`((?:accompany|tests|notebooks|notes)/[\w./]+)`", page.read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


def test_readme_is_one_page_that_opens_all_others():
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS
    opened = {(ROOT / target.partition("#")[0]).resolve() for target in links(README)}
    assert not [name_of(page) for page in PAGES if page != README and page.resolve() not in opened]


@pytest.mark.parametrize("text", snippets())
def test_snippets_compile_and_use_what_exists(text):
    compile(text, "snippet", "exec")
    lost = [f"{owner.__name__}.{name}" for owner, name in _uses(ast.parse(text)) if name not in _names(owner)]
    assert not lost


@pytest.mark.parametrize("text", ["accompany.open('tiny')", "band.play('a.wav')", "band.generate('a.wav', tempo=3)"])
def test_a_wrong_snippet_is_found(text):
    tree = ast.parse("import accompany\nband = accompany.load('tiny')\n" + text)
    assert [name for owner, name in _uses(tree) if name not in _names(owner)] in (["open"], ["play"], ["tempo"])


_TAKES = {"take", "takes", "batch", "again", "better", "longer", "other"}


def _uses(tree: ast.AST) -> Iterator[tuple[Any, str]]:
    """What a snippet takes from accompany, a band or a take: (owner, attribute), and (method, keyword)."""
    owners = {"accompany": accompany, "band": accompany.Band, **dict.fromkeys(_TAKES, accompany.Take)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Subscript):
            base = node.value.value if isinstance(node.value, ast.Subscript) else node.value
            if isinstance(base, ast.Name) and base.id in owners:
                yield owners[base.id], node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            base = node.func.value
            owner = owners.get(base.id) if isinstance(base, ast.Name) else None
            method = getattr(owner, node.func.attr, None)
            yield from ((method, keyword.arg) for keyword in node.keywords if method and keyword.arg)


def _names(owner: Any) -> set[str]:
    """Attributes of a module or class with those that a dataclass declares; parameters of anything that is called."""
    if inspect.isfunction(owner):
        names = set(inspect.signature(owner).parameters)
        return names | (_options() if "options" in names else set())
    fields = set(getattr(owner, "__dataclass_fields__", ()))
    exported = set(getattr(owner, "__all__", ()))
    return {*dir(owner), *fields, *exported}


def _options() -> set[str]:
    from accompany.generation.settings import Options

    return set(Options.__annotations__)
