"""`accompany evaluate --study NAME`: the study as Markdown and JSON in the report's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accompany.audio import replacing
from accompany.common.config import write_json
from accompany.common.files import require_writable
from accompany.errors import InputError
from accompany.evaluation.report import find_judge
from accompany.evaluation.studies.setup import StudySetup
from accompany.evaluation.studies.table import Study
from accompany.evaluation.testset import Clip, load_clips

if TYPE_CHECKING:
    from accompany.api import Band

STUDIES = {
    "controls": "each control of generate against its absence",
    "takes": "four takes of each vocal by rank: what ranking gains",
    "retakes": "the ends of regions that are made again",
    "length": "long songs from end to end",
    "prompts": "very different prompts on the same vocals, against true renders",
    "plans": "beats, chords and key by reading, and how far their confidence can be trusted",
}
_USUAL_S = {"length": 240.0, "plans": 20.0}
_LONGEST_END_S = 60.0


@dataclass(frozen=True)
class StudyConfig:
    """Options of a study.

    Attributes:
        study: a key of `STUDIES`.
        seconds: length of the clips; None takes what suits the study.
        limit: number of clips, 0 for all.
        seed: of the generations.
        only: the rows wanted of a study of controls; empty for all.
        judge: folder of a judge; empty: the one in the package.
    """

    study: str
    seconds: float | None = None
    limit: int = 0
    seed: int = 0
    judge: str = ""
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be studied."""
        if self.study not in STUDIES:
            raise InputError(f"There is no study '{self.study}'; choose one of {', '.join(STUDIES)}.")
        if self.study == "length" and self.length_s < _LONGEST_END_S:
            raise InputError(f"A study of length needs --seconds of at least {_LONGEST_END_S:g}.")
        if self.length_s < 4:
            raise InputError("A study needs --seconds of at least 4.")
        if self.only and self.study != "controls":
            raise InputError(f"A study of {self.study} has no rows to choose; leave --only out.")

    @property
    def length_s(self) -> float:
        """Length of the clips in seconds."""
        return _USUAL_S.get(self.study, 10.0) if self.seconds is None else self.seconds


def study(band: Band, folders: Sequence[str], report_dir: str | os.PathLike[str], config: StudyConfig) -> Study:
    """Run a study and write `study-NAME.md` and `study-NAME.json` into `report_dir`.

    Raises:
        InputError: no usable song, a model that plans nothing, or `report_dir` is a file.
    """
    out = Path(report_dir)
    if out.exists() and not out.is_dir():
        raise InputError(f"--report '{out}' is a file; name a folder.")
    require_writable(out)
    setup = StudySetup(band, find_judge(config.judge), _clips(band, folders, config), config.seed)
    assert setup.bundle
    out.mkdir(parents=True, exist_ok=True)
    found = _STUDIES[config.study](setup, config, out)
    write_json(out / f"study-{config.study}.json", {"model": band.name, **found.as_dict()})
    with replacing(out / f"study-{config.study}.md") as part:
        part.write_text(found.as_table(), encoding="utf-8")
    return found


def _clips(band: Band, folders: Sequence[str], config: StudyConfig) -> list[Clip]:
    limit = config.limit or None
    if config.study == "length":
        from accompany.evaluation.studies.length import load_long

        return load_long(folders, band.sample_rate, config.length_s, limit)
    return load_clips(folders, sample_rate=band.sample_rate, seconds=config.length_s, limit=limit)


def _controls(setup: StudySetup, config: StudyConfig, out: Path) -> Study:
    from accompany.evaluation.studies.controls import control

    if len(setup.clips) < 2:
        raise InputError("A study of controls needs two songs: one of them says what the other shall sound like.")
    return control(setup, config.only)


def _takes(setup: StudySetup, config: StudyConfig, out: Path) -> Study:
    from accompany.evaluation.studies.takes import takes

    return takes(setup)


def _retakes(setup: StudySetup, config: StudyConfig, out: Path) -> Study:
    from accompany.evaluation.studies.retakes import retakes

    return retakes(setup)


def _length(setup: StudySetup, config: StudyConfig, out: Path) -> Study:
    from accompany.evaluation.studies.length import lengths

    return lengths(setup)


def _prompts(setup: StudySetup, config: StudyConfig, out: Path) -> Study:
    from accompany.evaluation.studies.prompts import prompts

    return prompts(setup, out)


def _plans(setup: StudySetup, config: StudyConfig, out: Path) -> Study:
    from accompany.evaluation.studies.plans import plans

    return plans(setup)


_STUDIES: dict[str, Callable[[StudySetup, StudyConfig, Path], Study]] = {
    "controls": _controls,
    "takes": _takes,
    "retakes": _retakes,
    "length": _length,
    "prompts": _prompts,
    "plans": _plans,
}
