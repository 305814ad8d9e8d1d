"""The `accompany serve` command: a page in the browser and an HTTP API."""

from __future__ import annotations

import argparse
import os
from typing import Any

from accompany.commands import values
from accompany.commands.console import say
from accompany.commands.parser import add_model, command, load


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany serve --port 8000\n  accompany serve --host 0.0.0.0 --max-minutes 5      # asks for a token"
    parser = command(commands, "serve", "open a page in the browser and an HTTP API", example, extra="ui")
    add = parser.add_argument
    help_ = "where to listen (default 127.0.0.1: this machine alone)"
    add("--host", type=values.HOST, default="127.0.0.1", metavar="NAME", help=help_)
    add("--port", type=values.PORT, default=8000, metavar="N", help="default 8000; 0 takes a free one")
    help_ = "what visitors must know when --host is not local (default: $ACCOMPANY_TOKEN, or one is made and shown)"
    add("--token", default=os.environ.get("ACCOMPANY_TOKEN", ""), metavar="TEXT", help=help_)
    add("--max-mb", type=values.MAX_MB, default=100.0, metavar="X", help="largest upload, in MB (default 100)")
    add("--max-minutes", type=values.MAX_MINUTES, default=10.0, metavar="X", help="longest vocal (default 10)")
    help_ = "jobs that may wait; more are told busy (default 32)"
    add("--max-queue", type=values.JOBS, default=32, metavar="N", help=help_)
    help_ = "longest that one job may run (default 20)"
    add("--job-minutes", type=values.JOB_MINUTES, default=20.0, metavar="X", help=help_)
    help_ = "files are deleted so long after their owner was last seen (default 60)"
    add("--keep-minutes", type=values.KEEP_MINUTES, default=60.0, metavar="X", help=help_)
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until stopped."""
    from accompany.serve.limits import Address, Limits
    from accompany.serve.run import serve

    limits = Limits(
        args.max_mb, args.max_minutes, args.max_queue, job_minutes=args.job_minutes, keep_minutes=args.keep_minutes
    )
    serve(lambda: load(args), limits, Address(args.host, args.port, args.token), say)
