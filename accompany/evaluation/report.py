"""`accompany evaluate`: the same clips through every row, as a table, JSON and a page to look at and listen to."""

from __future__ import annotations

import dataclasses
import html
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from accompany import audio
from accompany.config import write_json
from accompany.errors import InputError
from accompany.evaluation.figures import FIGURES, hear, measure, obedience, summarise, wishes
from accompany.evaluation.rows import (
    ROWS,
    Output,
    Played,
    applicable_rows,
    make_output,
    other_clip,
    plans_known,
    play,
)
from accompany.evaluation.testset import Clip, load_clips

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.evaluation.judge import Judge

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate.

    Attributes:
        seconds: length of the clips; limit: number of clips, 0 for all.
        seed: clip i is generated with seed + i.
        judge: folder of a trained judge; empty: the one in the package, if there is one.
        players: clips that the page shows and plays.
    """

    seconds: float = 10.0
    limit: int = 0
    seed: int = 0
    judge: str = ""
    players: int = 12

    def __post_init__(self) -> None:
        if not self.seconds >= 2.0:
            raise ValueError("seconds must be at least 2")
        if self.limit < 0 or self.players < 0:
            raise ValueError("limit and players must not be negative")


def evaluate(
    band: Band,
    folders: Iterable[str | os.PathLike[str]],
    report_dir: str | os.PathLike[str],
    config: EvaluationConfig | None = None,
) -> dict[str, Any]:
    """Evaluate `band` on the songs of `folders` and write report.json, report.md, report.html, pictures and clips.

    Returns:
        The content of report.json: rows with each figure's mean, 95% interval and number of clips.

    Raises:
        InputError: no usable song, or `report_dir` is a file.
    """
    config = config or EvaluationConfig()
    out = Path(report_dir)
    if out.exists() and not out.is_dir():
        raise InputError(f"--report '{out}' is a file; name a folder.")
    clips = load_clips(folders, sample_rate=band.sample_rate, seconds=config.seconds, limit=config.limit or None)
    judge = find_judge(config.judge)
    tell = band.bundle.plans and plans_known(clips)
    played = [
        play(band, clip, config.seed + i, tell=tell)
        for i, clip in enumerate(tqdm(clips, desc="Generating", unit="clip"))
    ]
    names = applicable_rows(clips, plans=band.bundle.plans)
    results = _measure_rows(names, clips, played, band, judge)
    report = {
        "model": band.name,
        "clips": len(clips),
        "config": dataclasses.asdict(config),
        "definitions": {"rows": ROWS, "figures": FIGURES},
        "rows": {name: summarise(values, config.seed) for name, values in results.items()},
        "prompt of another clip": _floor_of_obedience(clips, played, band, judge),
        "per_clip": {
            name: [dict(v, clip=c.name) for v, c in zip(vs, clips, strict=True)] for name, vs in results.items()
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", report)
    (out / "report.md").write_text(as_table(report), encoding="utf-8")
    _write_page(
        out,
        report,
        [
            {name: make_output(name, i, clips, played, band) for name in names}
            for i in range(min(config.players, len(clips)))
        ],
    )
    return report


def find_judge(folder: str = "") -> Judge | None:
    """The judge in `folder`, or the package's own; None where there is none."""
    from accompany.evaluation.judge import Judge
    from accompany.pretrained import CHECKPOINTS_DIR, load_module

    path = Path(folder) if folder else CHECKPOINTS_DIR / "judge"
    if not folder and not path.is_dir():
        logger.warning("No judge of instruments is installed: prompt obedience is left out.")
        return None
    return load_module(Judge, path).eval()


def _measure_rows(
    names: list[str], clips: list[Clip], played: list[Played], band: Band, judge: Judge | None
) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i, clip in enumerate(tqdm(clips, desc="Measuring", unit="clip")):
        heard = hear(clip, judge)
        for name in names:
            results[name].append(measure(make_output(name, i, clips, played, band), heard, judge))
    return results


def _floor_of_obedience(clips: list[Clip], played: list[Played], band: Band, judge: Judge | None) -> dict[str, Any]:
    """Our outputs judged by the prompts of other clips: what obedience is worth by chance."""
    if judge is None or len(clips) < 2:
        return {}
    values = []
    for i in range(len(clips)):
        stranger = clips[other_clip(i, len(clips))]
        output = make_output("accompany", i, clips, played, band)
        values.append(obedience(output.sound, output.clip.sample_rate, *wishes(stranger, judge), judge))
    return summarise(values)


def as_table(report: dict[str, Any]) -> str:
    """The report as a Markdown table: a row for each row, a column for each figure, mean and half interval."""
    columns = [name for name in FIGURES if any(name in row for row in report["rows"].values())]
    lines = [
        f"# {report['model']}: {report['clips']} clips of {report['config']['seconds']:g} s",
        "",
        "| row | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    rows = dict(report["rows"])
    if report["prompt of another clip"]:
        rows["accompany, prompt of another clip"] = report["prompt of another clip"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row.get(column)) for column in columns) + " |")
    lines += ["", *(f"- **{name}**: {text}" for name, text in FIGURES.items() if name in columns)]
    lines += ["", *(f"- *{name}*: {text}" for name, text in ROWS.items() if name in rows)]
    return "\n".join(lines) + "\n"


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    return f"{value['mean']:.3f} ± {(value['high'] - value['low']) / 2:.3f}"


def _write_page(out: Path, report: dict[str, Any], shown: list[dict[str, Output]]) -> None:
    from accompany.evaluation.pictures import picture_of_take

    (out / "clips").mkdir(exist_ok=True)
    parts = [_PAGE_HEAD, f"<h1>{html.escape(report['model'])}</h1>", _html_table(report)]
    for i, outputs in enumerate(shown):
        ours = outputs["accompany"]
        assert ours.take is not None
        parts.append(f"<h2>{html.escape(ours.clip.name)}</h2><p>“{html.escape(ours.clip.prompt)}”</p>")
        image = picture_of_take(out / "clips" / f"{i:03d}.png", ours.take)
        parts.append(f'<img src="clips/{image.name}" alt="voice and accompaniment: spectrograms, chroma, beats">')
        parts += [_player(out, i, name, output) for name, output in outputs.items()]
    (out / "report.html").write_text("\n".join(parts) + "\n</main></html>\n", encoding="utf-8")


def _player(out: Path, index: int, name: str, output: Output) -> str:
    clip = output.clip
    path = out / "clips" / f"{index:03d}_{name.replace(' ', '_')}.flac"
    mixed = output.sound if name == "vocal copy" else output.sound + clip.vocal
    audio.write(path, (mixed * min(1.0, 0.98 / max(float(np.abs(mixed).max()), 1e-6)))[None], clip.sample_rate)
    source = f'<audio controls preload="none" src="clips/{path.name}"></audio>'
    return f"<label>{name}, with the voice {source}</label>"


def _html_table(report: dict[str, Any]) -> str:
    lines = [line for line in as_table(report).splitlines() if line.startswith("|") and not line.startswith("|---")]
    rows = [[html.escape(cell.strip()) for cell in line.strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[1:])
    notes = "".join(f"<li><b>{name}</b>: {html.escape(text)}</li>" for name, text in FIGURES.items())
    return f"<table><tr>{head}</tr>{body}</table><ul>{notes}</ul>"


_PAGE_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>accompany: evaluation</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
main { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #8884; text-align: left; white-space: nowrap }
img { max-width: 100%; height: auto }
label { display: inline-flex; flex-direction: column; margin: .3rem 1rem .3rem 0; font-size: .85rem }
</style><main>"""
