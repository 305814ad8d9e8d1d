"""`python -m accompany` is the `accompany` command."""

from accompany.cli import run

run()
