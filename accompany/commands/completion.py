"""Completion for shells, written from the arguments themselves, so that it never falls behind."""

from __future__ import annotations

import argparse
import re


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a command line for "bash", "zsh" or "fish"."""
    commands = _commands(parser)
    if shell == "fish":
        return _fish(commands)
    return _bash(commands, shell == "zsh")


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _options(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if action.option_strings and action.help != argparse.SUPPRESS]


def _bash(commands: dict[str, argparse.ArgumentParser], zsh: bool) -> str:
    """A function that offers commands first, then the options, the choices of an option, or files."""
    lines = ["autoload -U +X bashcompinit && bashcompinit"] if zsh else []
    lines += [
        "_accompany() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f'    COMPREPLY=($(compgen -W "{" ".join(commands)} --help --version" -- "$word"))',
        "    return",
        "  fi",
        '  case "${COMP_WORDS[1]} $before" in',
    ]
    for name, command in commands.items():
        for action in _options(command):
            if action.choices:
                pattern = " | ".join(f'"{name} {option}"' for option in action.option_strings)
                words = " ".join(map(str, action.choices))
                lines.append(f'    {pattern}) COMPREPLY=($(compgen -W "{words}" -- "$word")); return ;;')
    lines += ["  esac", '  case "${COMP_WORDS[1]}" in']
    for name, command in commands.items():
        words = " ".join(option for action in _options(command) for option in action.option_strings)
        fixed = [str(c) for a in command._actions if not a.option_strings and a.choices for c in a.choices]
        lines.append(f'    {name}) words="{" ".join([words, *fixed]).strip()}" ;;')
    lines += [
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        '  [ "${word#-}" = "$word" ] && COMPREPLY+=($(compgen -f -- "$word"))',
        "}",
        "complete -o filenames -F _accompany accompany",
    ]
    return "\n".join(lines) + "\n"


def _fish(commands: dict[str, argparse.ArgumentParser]) -> str:
    lines = []
    for name, command in commands.items():
        about = _quoted(command.description or "")
        lines.append(f"complete -c accompany -f -n __fish_use_subcommand -a {name} -d {about}")
        for action in _options(command):
            parts = [f"complete -c accompany -n '__fish_seen_subcommand_from {name}'"]
            for option in action.option_strings:
                parts.append(f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}")
            if action.nargs != 0:
                parts.append("-r")
            if action.choices:
                parts.append(f"-f -a {_quoted(' '.join(map(str, action.choices)))}")
            parts.append(f"-d {_quoted(action.help or '')}")
            lines.append(" ".join(parts))
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", " ".join(text.split())) + "'"
