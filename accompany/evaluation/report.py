"""`accompany evaluate`: the same clips through every row, as a table, JSON and an HTML page."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from accompany.audio import replacing
from accompany.common.config import read_json, write_json
from accompany.common.files import require_writable
from accompany.errors import InputError
from accompany.evaluation import independent
from accompany.evaluation.clip_metrics import (
    ReferenceClip,
    granted_by_family,
    judged_beats,
    measure,
    obedience,
    prepare_reference,
    requested_instruments,
    seam_metrics,
    summarise,
)
from accompany.evaluation.clips import check_empty, save_clips
from accompany.evaluation.definitions import CATALOGUE, GROUPS, METRICS
from accompany.evaluation.embeddings import (
    Embedded,
    EmbeddingModels,
    clap_score,
    distance_of_rows,
    diversity,
    embed,
    voice_leak_db,
)
from accompany.evaluation.folders import Against, read_against
from accompany.evaluation.metrics import track_beats
from accompany.evaluation.page import as_table, write_page
from accompany.evaluation.rows import (
    DEGENERATE,
    ROWS,
    Contest,
    RowOutput,
    nearest_clips,
    other_clip,
    plans_known,
    play,
)
from accompany.evaluation.style_obedience import PredictedStyles
from accompany.evaluation.testset import Clip, load_clips

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.evaluation.judge import Judge

logger = logging.getLogger(__name__)

OURS = "accompany"
OWN_LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class EvaluationConfig:
    """Options of an evaluation.

    Attributes:
        seconds: length of the clips; limit: number of clips, 0 for all.
        seed: clip i is generated with seed + i.
        judge: folder of a trained judge; empty: the one in the package, if there is one.
        players: clips that the page shows and plays.
        against: outputs of other systems, each `NAME=DIR`.
        seeds: takes of every clip; the metrics are those of the first, the others say how diverse they are.
        independent: also score the chords that a network of others estimates (`accompany.evaluation.independent`).
        save_clips: folder that gets the clips of every row as files (`accompany.evaluation.clips`); empty for none.
    """

    seconds: float = 10.0
    limit: int = 0
    seed: int = 0
    judge: str = ""
    players: int = 12
    against: tuple[str, ...] = ()
    seeds: int = 1
    independent: bool = False
    save_clips: str = ""

    def __post_init__(self) -> None:
        if not self.seconds >= 2.0:
            raise ValueError("seconds must be at least 2")
        if self.limit < 0 or self.players < 0:
            raise ValueError("limit and players must not be negative")
        if self.seeds < 1:
            raise ValueError("seeds must be at least 1")


def evaluate(
    band: Band,
    folders: Iterable[str | os.PathLike[str]],
    report_dir: str | os.PathLike[str],
    config: EvaluationConfig | None = None,
) -> dict[str, Any]:
    """Evaluate `band` on the songs of `folders` and write report.json, report.md, report.html, plots and clips.

    Returns:
        The content of report.json: rows with each metric's mean, 95% interval and number of clips.

    Raises:
        InputError: no usable song, `report_dir` is a file, a folder of `against` that is none or fits no clip, or a
            folder of `save_clips` that holds something.
    """
    config = config or EvaluationConfig()
    out = Path(report_dir)
    if out.exists() and not out.is_dir():
        raise InputError(f"--report '{out}' is a file; name a folder.")
    require_writable(out)
    others = read_against(config.against, ROWS)
    if config.save_clips:
        check_empty(config.save_clips)
    clips = load_clips(folders, sample_rate=band.sample_rate, seconds=config.seconds, limit=config.limit or None)
    judge = find_judge(config.judge)
    clips = [with_beats(clip, judge) for clip in clips]
    against = {name: Against(name, folder, clips) for name, folder in others.items()}
    oracle = band.bundle.plans and plans_known(clips)
    played = [
        play(band, clip, config.seed + i, oracle=oracle, seeds=config.seeds)
        for i, clip in enumerate(tqdm(clips, desc="Generating", unit="clip"))
    ]
    contest = Contest(band, clips, played, against, nearest_clips(clips))
    measured = _CollectedMetrics(contest, judge, independent=config.independent)
    for i in tqdm(range(len(clips)), desc="Measuring", unit="clip"):
        measured.add(i, list(contest.rows()))
    out.mkdir(parents=True, exist_ok=True)
    if config.save_clips:
        save_clips(contest, config.save_clips)
    return _written(measured, config, out)


def _written(measured: _CollectedMetrics, config: EvaluationConfig, out: Path) -> dict[str, Any]:
    """The content of the report, written into `out` as JSON, table and page."""
    report, contest = _report(measured, config), measured.contest
    write_json(out / "report.json", report)
    with replacing(out / "report.md") as part:
        part.write_text(as_table(report), encoding="utf-8")
    shown = range(min(config.players, len(contest.clips)))
    write_page(out, report, [{name: contest.output(name, i) for name in report["rows"]} for i in shown])
    return report


def _report(measured: _CollectedMetrics, config: EvaluationConfig) -> dict[str, Any]:
    contest, judge = measured.contest, measured.judge
    clips, names = contest.clips, contest.rows()
    rows = {name: summarise(measured.values[name], config.seed) for name in names}
    for name, distances in measured.distances(config.seed).items():
        rows[name] |= distances
    return {
        "model": contest.band.name,
        "clips": len(clips),
        "config": dataclasses.asdict(config),
        "definitions": {
            "rows": {**ROWS, **names},
            "figures": METRICS,
            "groups": {group: [name for name, each in CATALOGUE.items() if each.group == group] for group in GROUPS},
        },
        "notes": _notes(contest),
        "rows": rows,
        "prompt of another clip": _floor_of_obedience(contest, judge, measured.styles),
        "families": measured.families(),
        "styles": measured.styles.report(),
        "judge": _judge_metrics(config.judge) if judge is not None else {},
        "degenerate": best_degenerate(rows),
        "per_clip": measured.values,
    }


def find_judge(folder: str = "") -> Judge | None:
    """The judge in `folder`, or the package's own; None where there is none."""
    from accompany.common.weights import load_module
    from accompany.evaluation.judge import Judge

    path = _judge_folder(folder)
    if not folder and not path.is_dir():
        logger.warning("No judge of instruments is installed: prompt obedience is not measured.")
        return None
    return load_module(Judge, path, license=None if folder else OWN_LICENSE)


def _judge_folder(folder: str) -> Path:
    from accompany.common.config import CHECKPOINTS_DIR

    return Path(folder) if folder else CHECKPOINTS_DIR / "judge"


def _judge_metrics(folder: str) -> dict[str, Any]:
    """The judge's own scores on true renders, where its folder has them."""
    path = _judge_folder(folder) / "figures.json"
    metrics: dict[str, Any] = read_json(path) if path.is_file() else {}
    return metrics


def with_beats(clip: Clip, judge: Judge | None) -> Clip:
    """The clip itself where its beats are known; else with beats tracked in the true mix, and the tracker's name."""
    if clip.beats_s:
        return clip
    mix = clip.vocal + clip.truth
    found = track_beats(mix, clip.sample_rate) if judge is None else judged_beats(mix, clip.sample_rate, judge)
    by = "librosa" if judge is None else "the judge"
    return dataclasses.replace(clip, beats_s=tuple(found.tolist()), beats_by=by if len(found) else "")


class _CollectedMetrics:
    """Metrics collected so far, by row."""

    def __init__(self, contest: Contest, judge: Judge | None, *, independent: bool = False) -> None:
        self.contest, self.judge, self.models = contest, judge, EmbeddingModels.of(contest.band.bundle)
        self._independent = independent
        self.values: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._embedded: dict[str, list[Embedded]] = defaultdict(list)
        self._granted: dict[str, dict[str, dict[str, list[bool]]]] = {}
        self.styles = PredictedStyles(judge)

    def add(self, index: int, names: list[str]) -> None:
        """Measure one clip in all rows."""
        clip = self.contest.clips[index]
        reference, truth = prepare_reference(clip, self.judge), embed(clip.truth, clip.sample_rate, self.models)
        for name in names:
            output = self.contest.output(name, index)
            if output is not None:
                self.values[name].append({**self._one(name, index, output, reference, truth), "clip": clip.name})

    def _one(
        self, name: str, index: int, output: RowOutput, reference: ReferenceClip, truth: Embedded
    ) -> dict[str, float]:
        clip, sound, rate = output.clip, output.sound, output.clip.sample_rate
        embedded = embed(sound, rate, self.models)
        self._embedded[name].append(embedded)
        values = measure(output, reference, self.judge) | self.styles.add(name, clip, sound)
        more = {
            "clap_score": clap_score(embedded, clip.prompt, self.models),
            "voice_leak_db": voice_leak_db(sound, rate, self.models),
            "diversity": self._diversity(name, index, embedded, truth),
        }
        values |= {metric: value for metric, value in more.items() if value is not None}
        if self._independent:
            values |= independent.chord_scores(sound, rate, clip.chords)
        if name == OURS:
            values |= seam_metrics(sound, rate, self.contest.band.bundle)
        if self.judge is not None:
            for (kind, family), granted in granted_by_family(sound, rate, reference, self.judge).items():
                of_row = self._granted.setdefault(name, {})
                of_row.setdefault(family, defaultdict(list))[kind].append(granted)
        return values

    def _diversity(self, name: str, index: int, embedded: Embedded, truth: Embedded) -> float | None:
        takes = self.contest.played[index].again
        if not takes:
            return None
        if name == OURS:
            rate = self.contest.band.sample_rate
            return diversity([embedded, *(embed(take.samples.mean(0), rate, self.models) for take in takes)])
        return diversity([truth, embedded]) if name in ("codec", "shuffled") else None

    def distances(self, seed: int) -> dict[str, dict[str, Any]]:
        """`fd_clap` and `fd_mert` of every row but the truth."""
        found: dict[str, dict[str, Any]] = {}
        for name, row in self._embedded.items():
            for metric, part in (("fd_clap", "stretches"), ("fd_mert", "seconds")):
                mine, true = ([getattr(each, part) for each in embedded] for embedded in (row, self._embedded["truth"]))
                distance = distance_of_rows(mine, true, seed) if name != "truth" else None
                if distance is not None:
                    found.setdefault(name, {})[metric] = distance
        return found

    def families(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """For each row and family: shares of `named` ones present and of `forbidden` ones absent, with their clips."""
        return {
            name: {
                family: {kind: {"share": float(np.mean(each)), "clips": len(each)} for kind, each in kinds.items()}
                for family, kinds in sorted(of_row.items())
            }
            for name, of_row in self._granted.items()
        }


def best_degenerate(rows: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """For each metric with a direction: the degenerate row that scores best, and whom it beats."""
    found = {}
    for metric, definition in CATALOGUE.items():
        scores = {name: rows[name][metric]["mean"] for name in DEGENERATE if metric in rows.get(name, {})}
        if not scores or definition.better == 0:
            continue
        name = max(scores, key=lambda row: definition.better * scores[row])
        beaten = [
            other
            for other in (OURS, "truth")
            if metric in rows[other] and definition.better * (scores[name] - rows[other][metric]["mean"]) > 0
        ]
        found[metric] = {"row": name, "mean": scores[name], "beats": beaten}
    return found


def _notes(contest: Contest) -> list[str]:
    """Notes of the report: limits of the test clips."""
    notes = [each.note for each in contest.against.values() if each.note]
    for tracker in sorted({clip.beats_by for clip in contest.clips} - {""}):
        count = sum(clip.beats_by == tracker for clip in contest.clips)
        notes.append(
            f"The beats of {count} of {len(contest.clips)} clips are not annotated but tracked by {tracker} in the "
            "true mix, which limits the metrics of time."
        )
    silent = sum(not clip.prompt for clip in contest.clips)
    if silent:
        notes.append(f"{silent} of {len(contest.clips)} clips have no prompt.")
    return notes


def _floor_of_obedience(contest: Contest, judge: Judge | None, styles: PredictedStyles) -> dict[str, Any]:
    """Our outputs judged by the prompts of other clips: what obedience is worth by chance."""
    clips = contest.clips
    if judge is None or len(clips) < 2:
        return {}
    values = []
    for i in range(len(clips)):
        output = contest.output(OURS, i)
        assert output is not None
        unrelated = clips[other_clip(i, len(clips))]
        granted = obedience(output.sound, output.clip.sample_rate, *requested_instruments(unrelated, judge), judge)
        values.append(granted | styles.granted(OURS, clips[i], unrelated))
    return summarise(values)
