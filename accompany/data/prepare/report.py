"""The report of a pairs folder: report.json with every count, and report.html with plots."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from accompany.data.prepare.measures import REASONS
from accompany.data.prepare.pair_making import Outcome, PrepareConfig
from accompany.data.prepare.pairs import DUPLICATES
from accompany.data.prepare.pairs_store import PairsStore, as_json

REPORT, PAGE = "report.json", "report.html"
_DUPLICATE = "near-duplicate"
_WIDTH, _HEIGHT, _LABEL = 640, 160, 28
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}
td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right}
svg rect{fill:#4a7ba6}svg text{font-size:11px;fill:#555}h2{margin-top:2em}"""


@dataclass(frozen=True)
class Report:
    """Content of a pairs folder over all runs, and times of the last run.

    Attributes:
        pairs, hours: kept, hours of sound.
        songs, hours_in: songs that could be read, and their hours.
        separator: or "stems".
        dropped: for each reason its `measure`, `windows` and `hours`.
        set_aside: skipped songs (and folders) that could not be read, with the reason.
        without_pairs: songs of which nothing was kept, with the commonest reason.
        caption_sources: captions from each source.
        spread: `edges` and `counts` of loudness, tempo and voiced share of the pairs, and the count of each key.
        run: seconds of the last run, by what took them.
    """

    pairs: int
    hours: float
    songs: int
    hours_in: float
    separator: str
    dropped: dict[str, dict[str, Any]]
    set_aside: dict[str, str]
    without_pairs: dict[str, str]
    caption_sources: dict[str, int]
    spread: dict[str, Any]
    run: dict[str, float] = field(compare=False)


class _Tally:
    """Adds up the records of songs without keeping them."""

    def __init__(self, repeated: Mapping[str, Any]) -> None:
        self.repeated = repeated
        self.songs = self.pairs = 0
        self.seconds_in = self.seconds = 0.0
        self.dropped: dict[str, list[float]] = {reason: [] for reason in REASONS}
        self.skipped: dict[str, str] = {}
        self.without_pairs: dict[str, str] = {}
        self.captions: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {"level_db": [], "tempo_bpm": [], "voiced_share": []}
        self.keys: Counter[str] = Counter()

    def add(self, folder: str, record: Mapping[str, Any]) -> None:
        """Count in the record of the song whose pairs are in `folder`."""
        if record["set_aside"] is not None:
            self.skipped[record["song"]] = record["set_aside"]
            return
        self.songs += 1
        reasons: list[str] = []
        for window in record["windows"]:
            self.seconds_in += window["seconds"]
            reason = window["reason"]
            if reason is None and f"{folder}/{window['pair']}" in self.repeated:
                reason = _DUPLICATE
            if reason is None:
                self._keep(window)
            else:
                reasons.append(reason)
                self.dropped[reason].append(window["seconds"])
        if len(reasons) == len(record["windows"]):
            self.without_pairs[record["song"]] = Counter(reasons).most_common(1)[0][0]

    def _keep(self, window: Mapping[str, Any]) -> None:
        self.pairs += 1
        self.seconds += window["seconds"]
        self.captions.update(window["caption_sources"])
        self.keys[window["key"] or "unsure"] += 1
        for name, values in self.values.items():
            if window[name] is not None:
                values.append(window[name])


def write_report(
    place: PairsStore, config: PrepareConfig, outcomes: Sequence[Outcome], unreadable: Mapping[str, str]
) -> Report:
    """Count what is in a pairs folder and write both files."""
    tally = _Tally(place.read(DUPLICATES))
    for folder, record in place.records():
        tally.add(folder, record)
    dropped = {
        reason: {"measure": REASONS[reason], "windows": len(seconds), "hours": round(sum(seconds) / 3600, 4)}
        for reason, seconds in tally.dropped.items()
    }
    report = Report(
        pairs=tally.pairs,
        hours=round(tally.seconds / 3600, 4),
        songs=tally.songs,
        hours_in=round(tally.seconds_in / 3600, 4),
        separator="stems" if config.stems else config.separator,
        dropped=dropped,
        set_aside={**tally.skipped, **unreadable},
        without_pairs=tally.without_pairs,
        caption_sources=dict(sorted(tally.captions.items())),
        spread=_spread(tally),
        run=_times(outcomes),
    )
    place.store.write(REPORT, as_json(asdict(report)))
    place.store.write(PAGE, _page(report).encode("utf-8"))
    return report


def _spread(tally: _Tally) -> dict[str, Any]:
    bins = {
        "level_db": np.arange(-50, 1, 5.0),
        "tempo_bpm": np.arange(50, 211, 10.0),
        "voiced_share": np.arange(11) / 10,
    }
    spread: dict[str, Any] = {}
    for name, edges in bins.items():
        counts, _ = np.histogram(np.clip(tally.values[name], edges[0], edges[-1]), edges)
        spread[name] = {"edges": edges.tolist(), "counts": counts.tolist()}
    return {**spread, "key": dict(sorted(tally.keys.items()))}


def _times(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Seconds of the songs of this run, added up over workers."""
    total = sum(outcome.wall_s for outcome in outcomes)
    separation, encoders = (sum(getattr(each, name) for each in outcomes) for name in ("separation_s", "encoders_s"))
    parts = {"songs_s": total, "separation_s": separation, "encoders_s": encoders}
    share = (total - separation - encoders) / total if total else 0.0
    return {**{name: round(value, 2) for name, value in parts.items()}, "other_share": round(share, 4)}


def _page(report: Report) -> str:
    spread = report.spread
    reasons = {reason: line["hours"] for reason, line in report.dropped.items() if line["windows"]}
    kept = report.hours / report.hours_in if report.hours_in else 0.0
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Pairs</title>",
        f"<style>{_STYLE}</style></head><body><h1>Pairs</h1>",
        f"<p>{report.songs} songs, {report.hours_in:.2f} hours in; {report.pairs} pairs, {report.hours:.2f} hours kept "
        f"({kept:.0%}); separator: {html.escape(report.separator)}.</p>",
        _bars("Hours", {"in": report.hours_in, "kept": report.hours, **reasons}),
        _table("Dropped", ("reason", "measure", "windows", "hours"), _dropped_rows(report)),
        _bars("Loudness of the pairs, RMS in dBFS", _labelled(spread["level_db"])),
        _bars("Tempo, beats a minute", _labelled(spread["tempo_bpm"])),
        _bars("Key", spread["key"]),
        _bars("Share of frames with singing", _labelled(spread["voiced_share"])),
        _bars("Captions by source", report.caption_sources),
        _table("Skipped", ("song", "reason"), list(report.set_aside.items())),
        _table("Songs without a pair", ("song", "commonest reason"), list(report.without_pairs.items())),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _dropped_rows(report: Report) -> list[tuple[Any, ...]]:
    lines = report.dropped.items()
    return [(reason, line["measure"], line["windows"], line["hours"]) for reason, line in lines if line["windows"]]


def _labelled(histogram: Mapping[str, list[float]]) -> dict[str, float]:
    return {f"{edge:g}": count for edge, count in zip(histogram["edges"], histogram["counts"], strict=False)}


def _bars(title: str, values: Mapping[str, float]) -> str:
    """A bar chart as SVG: nothing to load, nothing to run."""
    if not values:
        return ""
    step, top = _WIDTH / len(values), max(max(values.values()), 1e-9)
    bars = []
    for i, (label, value) in enumerate(values.items()):
        height = (_HEIGHT - 2 * _LABEL) * value / top
        x, y = i * step, _HEIGHT - _LABEL - height
        middle = f"x='{x + step / 2:.1f}' text-anchor='middle'"
        bars.append(f"<rect x='{x + 1:.1f}' y='{y:.1f}' width='{step - 2:.1f}' height='{height:.1f}'/>")
        bars.append(f"<text {middle} y='{_HEIGHT - 12}'>{html.escape(label)}</text>")
        bars.append(f"<text {middle} y='{y - 3:.1f}'>{value:g}</text>" if value else "")
    drawing = f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='100%' role='img'>{''.join(bars)}</svg>"
    return f"<h2>{html.escape(title)}</h2>{drawing}"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    return f"<td class='n'>{value:g}</td>" if isinstance(value, int | float) else f"<td>{html.escape(str(value))}</td>"
