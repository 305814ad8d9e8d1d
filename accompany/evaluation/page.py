"""The report as Markdown tables, and as an HTML page with plots and players."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.evaluation.definitions import CATALOGUE, GROUPS, HIGHER, LOWER
from accompany.evaluation.rows import DEGENERATE, RowOutput

_OTHER_PROMPT = "accompany, prompt of another clip"
_ARROWS = {HIGHER: " ↑", LOWER: " ↓"}
_MIXED_WITH_VOICE = "with the voice"


def as_table(report: dict[str, Any]) -> str:
    """The report in Markdown: for each group of metrics a table, a row for each row, mean and half interval."""
    lines = [f"# {report['model']}: {report['clips']} clips of {report['config']['seconds']:g} s", ""]
    lines += [*(f"> {note}" for note in report["notes"]), ""] if report["notes"] else []
    lines += ["Mean ± half the 95% bootstrap interval by song; ↑ higher is better, ↓ lower is better.", ""]
    for title, rows in _tables(report):
        lines += [f"## {title}", "", _line(rows[0]), "|---" * len(rows[0]) + "|", *map(_line, rows[1:]), ""]
    lines += [f"- **{name}**: {text}" for name, text in _definitions(report)]
    lines += ["", *(f"- *{name}*: {text}" for name, text in _row_definitions(report))]
    return "\n".join(lines) + "\n"


def write_page(out: Path, report: dict[str, Any], shown: Sequence[dict[str, RowOutput | None]]) -> None:
    """Write report.html with its plots and sounds in `clips`; `shown` has the outputs of each clip by row."""
    from accompany.evaluation.plots import plot_rows, plot_take

    (out / "clips").mkdir(exist_ok=True)
    overview = plot_rows(out / "clips" / "overview.png", report)
    parts = [_HEAD, f"<h1>{html.escape(report['model'])}</h1>"]
    parts.append(f"<p>{report['clips']} clips of {report['config']['seconds']:g} s. Mean ± half the 95% bootstrap ")
    parts.append("interval by song; ↑ higher is better, ↓ lower is better; degenerate answers in grey.</p>")
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in report["notes"]]
    parts.append(f'<img src="clips/{overview.name}" alt="main metrics of every row with their intervals">')
    parts += [f"<h2>{html.escape(title)}</h2>{_html_table(rows)}" for title, rows in _tables(report)]
    parts.append(f"<h2>Rows</h2>{_html_list(_row_definitions(report))}")
    parts.append(f"<h2>Metrics</h2>{_html_list(_definitions(report))}<h2>Clips</h2>")
    for i, outputs in enumerate(shown):
        ours = outputs["accompany"]
        assert ours is not None and ours.take is not None
        parts.append(f"<h3>{html.escape(ours.clip.name)}</h3><p>“{html.escape(ours.clip.prompt)}”</p>")
        image = plot_take(out / "clips" / f"{i:03d}.png", ours.take)
        parts.append(f'<img src="clips/{image.name}" alt="voice and accompaniment: spectrograms, chroma, beats">')
        parts += [_player(out, i, name, output) for name, output in outputs.items() if output is not None]
    with audio.replacing(out / "report.html") as part:
        part.write_text("\n".join(parts) + "\n</main></html>\n", encoding="utf-8")


def _tables(report: dict[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Titles and cells, the first row being the head."""
    tables = []
    rows = dict(report["rows"])
    if report["prompt of another clip"]:
        rows[_OTHER_PROMPT] = report["prompt of another clip"]
    for group, title in GROUPS.items():
        columns = [name for name in CATALOGUE if CATALOGUE[name].group == group and _is_there(name, rows)]
        if columns:
            head = ["row", *(name + _ARROWS.get(CATALOGUE[name].better, "") for name in columns)]
            with_any = {name: row for name, row in rows.items() if any(column in row for column in columns)}
            cells = [[name, *(_cell(row.get(c), report) for c in columns)] for name, row in with_any.items()]
            tables.append((title, [head, *cells]))
    families = _families(report)
    tables += [("Instruments by family", families)] if families else []
    styles = _styles(report)
    tables += [("Styles of the prompt", styles)] if styles else []
    return [*tables, ("Degenerate answers", _degenerate(report))]


def _is_there(metric: str, rows: dict[str, Any]) -> bool:
    return any(metric in row for row in rows.values())


def _cell(value: dict[str, Any] | None, report: dict[str, Any]) -> str:
    """Mean, half interval where one is known (of a single clip none is), number of clips where that is not all."""
    if value is None:
        return ""
    of = f" ({value['clips']})" if value["clips"] < report["clips"] else ""
    digits = 0 if abs(value["mean"]) >= 100 else 3 if abs(value["mean"]) < 10 else 1
    known = value["clips"] > 1 and "low" in value
    half = f" ± {(value['high'] - value['low']) / 2:.{digits}f}" if known else ""
    return f"{value['mean']:.{digits}f}{half}{of}"


def _families(report: dict[str, Any]) -> list[list[str]]:
    """Per family: how often it was named and present, forbidden and absent; by our row, the truth and the judge."""
    ours, truth = (report["families"].get(name, {}) for name in ("accompany", "truth"))
    judge = report["judge"].get("families", {})
    if not ours:
        return []
    head = [
        "family",
        "named: ours",
        "truth",
        "judge on true renders",
        "forbidden: ours",
        "truth",
        "judge on true renders",
    ]
    return [head] + [
        [
            family,
            *(_share(side.get(family, {}).get("named")) for side in (ours, truth)),
            _plain(judge.get(family, {}).get("present")),
            *(_share(side.get(family, {}).get("forbidden")) for side in (ours, truth)),
            _plain(judge.get(family, {}).get("absent")),
        ]
        for family in ours
    ]


def _styles(report: dict[str, Any]) -> list[list[str]]:
    """Per style: share of the clips asking for it in which it is predicted, and the commonest prediction for ours."""
    asked, predicted = (report["styles"].get(key, {}) for key in ("asked", "heard"))
    judge = report["judge"].get("styles", {}).get("by_style", {})
    lines = []
    for style in sorted({style for styles in asked.values() for style in styles}):
        clips = [clip for clip, styles in asked.items() if style in styles]
        cells = [_times(style, [predicted[row][clip] for clip in clips]) for row in ("accompany", "truth", "codec")]
        taken = Counter(predicted["accompany"][clip] or "silence" for clip in clips).most_common(1)[0][0]
        lines.append([style, str(len(clips)), *cells, taken, _plain(judge.get(style, {}).get("right"))])
    head = [
        "style",
        "clips",
        "predicted: ours",
        "truth",
        "codec",
        "ours, most often",
        "judge on true renders",
    ]
    return [head, *lines] if lines else []


def _times(style: str, predicted: list[str]) -> str:
    """Share of the sounds whose predicted style is this one."""
    return f"{predicted.count(style) / len(predicted):.2f}"


def _share(value: dict[str, float] | None) -> str:
    return f"{value['share']:.2f} of {value['clips']}" if value else ""


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _degenerate(report: dict[str, Any]) -> list[list[str]]:
    """The best degenerate answer beside ours and the truth."""
    rows = report["rows"]
    lines = [["metric", "best degenerate answer", "its score", "accompany", "truth", "beats"]]
    for metric, best in report["degenerate"].items():
        scores = [_plain(rows[row].get(metric, {}).get("mean")) for row in ("accompany", "truth")]
        arrow = _ARROWS[CATALOGUE[metric].better]
        lines.append([metric + arrow, best["row"], _plain(best["mean"]), *scores, ", ".join(best["beats"])])
    return lines


def _definitions(report: dict[str, Any]) -> list[tuple[str, str]]:
    metrics = report["definitions"]["figures"]
    return [(name, text) for name, text in metrics.items() if _is_there(name, report["rows"])]


def _row_definitions(report: dict[str, Any]) -> list[tuple[str, str]]:
    definitions = report["definitions"]["rows"]
    return [(name, definitions[name]) for name in report["rows"]]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _html_table(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = []
    for row in rows[1:]:
        kind = "ours" if row[0] == "accompany" else "degenerate" if row[0] in DEGENERATE else ""
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        body.append(f'<tr class="{kind}"><th>{html.escape(row[0])}</th>{cells}</tr>')
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _html_list(items: Sequence[tuple[str, str]]) -> str:
    return "<ul>" + "".join(f"<li><b>{html.escape(a)}</b>: {html.escape(b)}</li>" for a, b in items) + "</ul>"


def _player(out: Path, index: int, name: str, output: RowOutput) -> str:
    clip = output.clip
    path = out / "clips" / f"{index:03d}_{name.replace(' ', '_')}.flac"
    mixed = output.sound if name == "vocal copy" else output.sound + clip.vocal
    audio.write(path, (mixed * min(1.0, 0.98 / max(float(np.abs(mixed).max()), 1e-6)))[None], clip.sample_rate)
    source = f'<audio controls preload="none" src="clips/{path.name}"></audio>'
    return f"<label>{html.escape(name)}, {_MIXED_WITH_VOICE} {source}</label>"


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>accompany: evaluation</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
main { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #8884; text-align: left; white-space: nowrap; font-weight: 400 }
tr:first-child th { font-weight: 600 }
th:first-child { position: sticky; left: 0; background: Canvas }
.ours td, .ours th { font-weight: 600 }
.degenerate { color: GrayText }
.note { border-left: 3px solid #c80; padding-left: .7rem }
img { max-width: 100%; height: auto }
label { display: inline-flex; flex-direction: column; margin: .3rem 1rem .3rem 0; font-size: .85rem }
</style><main>"""
