"""Model cards for the hub: what the author wrote, and what the bundle itself knows of parts, licences and use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from accompany.errors import InputError
from accompany.models.parts import BundleInfo
from accompany.models.rates import rates

EXAMPLES_DIR = "examples"
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
_FRONT = re.compile(r"\A---\n(?P<fields>.*?)^---\n", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"^# (?P<model>.+): \d+ clips? of .+ s$")


@dataclass(frozen=True)
class CardFacts:
    """What an author adds to the card of a model.

    Attributes:
        text: Markdown in place of the bundle's own README.md.
        data: a sentence or more on what the model was trained on.
        report: folder of `accompany evaluate`, whose tables become the section of metrics.
        examples: sound files, uploaded beside the model.
    """

    text: Path | None = None
    data: str = ""
    report: Path | None = None
    examples: Sequence[Path] = ()

    def __post_init__(self) -> None:
        """InputError for an example that is no sound file, or two of one name."""
        names = [path.name.lower() for path in self.examples]
        for path in self.examples:
            if path.suffix.lower() not in _SUFFIXES or not path.is_file():
                raise InputError(f"{path} is no sound file for the card; give {', '.join(_SUFFIXES)}.")
            if names.count(path.name.lower()) > 1:
                raise InputError(f"Two examples are named {path.name}; give each its own name.")


def model_card(info: BundleInfo, repo_id: str, address: str, facts: CardFacts) -> str:
    """The card of a model in Markdown: sections that its author wrote stay, those that are missing are filled in.

    Args:
        info: the bundle; its README.md is the author's text unless `facts` has one.
        repo_id: `owner/name` on the hub.
        address: of the model there, for the players of the examples.
        facts: what else there is to say.

    Raises:
        InputError: a text or report that is not there, or a report of another model.
    """
    own = _read(facts.text) if facts.text else _read(info.path / "README.md", optional=True)
    front = _FRONT.match(own)
    fields, body = (front["fields"], own[front.end() :]) if front else ("", own)
    sections = {
        "Use": _use(repo_id),
        "Parts": _parts(info),
        "Data": facts.data or "The author has not said what it was trained on.",
        "Metrics": _metrics(info, facts.report) if facts.report else "",
        "Examples": "\n\n".join(_player(path.name, address) for path in facts.examples),
    }
    given = {"Data": facts.data, "Metrics": facts.report, "Examples": facts.examples}
    text = body.strip() or f"# {info.name}\n\nSing in, band out: an accompaniment for a vocal, made with `accompany`."
    for title, content in sections.items():
        section = re.compile(rf"^## {title}\b.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL | re.IGNORECASE)
        there = section.search(text)
        if there and given.get(title):  # what is said now counts for more than what was written before
            text = f"{text[: there.start()]}{text[there.end() :]}".rstrip()
        if content and (given.get(title) or not there):
            text += f"\n\n## {title}\n\n{content}"
    return f"---\n{_fields(fields, info)}---\n{text}\n"


def _fields(fields: str, info: BundleInfo) -> str:
    """The fields of the front matter: the author's, then those that are missing."""
    licences = {part.license.lower() for part in info.parts} | {info.license.lower()}
    whole = {"license": info.license.lower()}
    if len(licences) > 1:
        whole = {"license": "other", "license_name": "-and-".join(sorted(licences)).replace(" ", "-")}
    own = {
        **(whole if "license:" not in fields else {}),
        "library_name": "accompany",
        "pipeline_tag": "audio-to-audio",
        "tags": "[music, singing, accompaniment, vocal-to-accompaniment]",
    }
    missing = [f"{key}: {value}\n" for key, value in own.items() if not re.search(rf"^{key}:", fields, re.MULTILINE)]
    return fields + "".join(missing)


def _use(repo_id: str) -> str:
    return (
        "```\n"
        f'accompany generate vocals.wav -p "warm acoustic guitar, brushed drums" --mix --model {repo_id}\n'
        "```\n\n"
        "```python\n"
        "import accompany\n\n"
        f'take = accompany.load("{repo_id}").generate("vocals.wav", "warm acoustic guitar, brushed drums")\n'
        'take.save_mix("mix.wav")\n'
        "```"
    )


def _parts(info: BundleInfo) -> str:
    rows = ["| part | size | works at | licence |", "|---|---|---|---|"]
    for part in info.parts:
        size = f"{part.bytes / 1e6:.1f} MB" if isinstance(part.source, Path) else f"from `{part.source}`"
        rows.append(f"| {part.name} | {size} | {', '.join(rates(part))} | {part.license} |")
    return "\n".join(rows)


def _metrics(info: BundleInfo, folder: Path) -> str:
    """The tables of a report of `accompany evaluate`, their headings two levels down."""
    title, _, text = _read(folder / "report.md").partition("\n")
    found = _TITLE.match(title)
    if found is None or found["model"] != info.name:
        of = f"of {found['model']}" if found else "no report of accompany evaluate"
        raise InputError(f"{folder / 'report.md'} is {of}, not of {info.name}; evaluate this model.")
    return f"By `accompany evaluate`, {title.partition(': ')[2]}.\n" + re.sub(r"^#", "##", text, flags=re.M).rstrip()


def _player(name: str, address: str) -> str:
    path = f"{EXAMPLES_DIR}/{quote(name)}"
    return f'[{name}]({path})\n\n<audio controls src="{address}/resolve/main/{path}"></audio>'


def _read(path: Path, optional: bool = False) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if optional and not path.exists():
            return ""
        raise InputError(f"{path} cannot be read as text; give a Markdown file.") from error
