"""The `accompany serve` command: a page in the browser and an HTTP API."""

from __future__ import annotations

import argparse
import os
from typing import Any

from accompany.commands import job_values
from accompany.commands.console import say
from accompany.commands.parser import add_model, command, load
from accompany.serve.limits import Address, Limits


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany serve --port 8000\n  accompany serve --host 0.0.0.0 --max-minutes 5      # asks for a token"
    parser = command(commands, "serve", "open a page in the browser and an HTTP API", example, extra="ui")
    add = parser.add_argument
    help_ = "address to bind (default 127.0.0.1: this machine alone)"
    add("--host", type=job_values.HOST, default="127.0.0.1", metavar="NAME", help=help_)
    add("--port", type=job_values.PORT, default=8000, metavar="N", help="default 8000; 0 takes a free one")
    help_ = "what visitors must know when --host is not local (default: $ACCOMPANY_TOKEN, or one is made and shown)"
    add("--token", default=os.environ.get("ACCOMPANY_TOKEN", ""), metavar="TEXT", help=help_)
    add("--open", action="store_true", help="ask for no token: whoever reaches the port may use it")
    help_ = "the site whose pages may show this one in a frame, such as https://huggingface.co (default: none)"
    add("--embed", type=job_values.ADDRESS, metavar="SITE", help=help_)
    own = Limits()
    help_ = f"largest upload, in MB (default {own.max_mb:g})"
    add("--max-mb", type=job_values.MAX_MB, default=own.max_mb, metavar="X", help=help_)
    help_ = f"longest vocal (default {own.max_minutes:g})"
    add("--max-minutes", type=job_values.MAX_MINUTES, default=own.max_minutes, metavar="X", help=help_)
    help_ = f"jobs that may wait; more are refused as busy (default {own.max_queue})"
    add("--max-queue", type=job_values.JOBS, default=own.max_queue, metavar="N", help=help_)
    help_ = f"longest that one job may run (default {own.job_minutes:g})"
    add("--job-minutes", type=job_values.JOB_MINUTES, default=own.job_minutes, metavar="X", help=help_)
    help_ = f"files are deleted so long after their owner was last seen (default {own.keep_minutes:g})"
    add("--keep-minutes", type=job_values.KEEP_MINUTES, default=own.keep_minutes, metavar="X", help=help_)
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until stopped."""
    from accompany.serve.run import serve

    limits = Limits(
        args.max_mb, args.max_minutes, args.max_queue, job_minutes=args.job_minutes, keep_minutes=args.keep_minutes
    )
    serve(lambda: load(args), limits, Address(args.host, args.port, args.token, args.open, args.embed or ""), say)
