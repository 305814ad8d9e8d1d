"""The `accompany doctor` command: versions, devices, system libraries, models, disk, and what to do.

Each look-up is a small function that returns `Finding`s and never raises: one broken part hides no other.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accompany.commands.console import print_json, say
from accompany.commands.parser import add_json, command

_CORE = ("torch", "transformers", "huggingface_hub", "numpy", "soundfile", "soxr", "safetensors", "omegaconf")
_LOW_DISK_GB = 2.0
_HUB_TIMEOUT_S = 4.0
_NON_COMMERCIAL = re.compile(r"\bNC\b")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `status` is "ok", "note" (something optional is absent) or "broken"."""

    name: str
    status: str
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; the first thing to mend stands first among its kind."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        _python,
        _core_packages,
        _torchaudio,
        _devices,
        _models,
        _licences,
        _hub,
        _ffmpeg,
        _fluidsynth,
        _soundfont,
        _extras,
        _disk,
    )
    return [finding for look in looks for finding in _guarded(look)]


def _guarded(look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Exception as error:
        name = look.__name__.strip("_").replace("_", " ")
        return [Finding(name, "broken", f"{type(error).__name__}: {error}", "Reinstall accompany.")]


def _python() -> list[Finding]:
    found = f"{platform.python_version()} on {platform.platform()}"
    if (3, 10) <= sys.version_info[:2] < (3, 14):
        return [Finding("python", "ok", found)]
    return [Finding("python", "broken", found, "Use Python 3.10 to 3.13.")]


def _core_packages() -> list[Finding]:
    findings = []
    for name in ("accompany", *_CORE):
        try:
            findings.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "broken", "not installed", f"pip install {name}"))
    return findings


def _torchaudio() -> list[Finding]:
    """A torchaudio that does not match torch breaks transformers, which imports it when it is there."""
    try:
        version = importlib.metadata.version("torchaudio")
    except importlib.metadata.PackageNotFoundError:
        return []
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        advice = "Not needed, and it breaks transformers: pip uninstall torchaudio"
        return [Finding("torchaudio", "broken", f"{version} does not load ({reason})", advice)]
    return [Finding("torchaudio", "ok", version)]


def _devices() -> list[Finding]:
    import torch

    findings = [Finding("cpu", "ok", f"{torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
        findings.append(Finding("cuda", "ok", f"{torch.cuda.get_device_name(0)}, {memory_gb:.0f} GB"))
    elif torch.backends.mps.is_available():
        findings.append(Finding("mps", "ok", "Apple GPU (the codec stays on the CPU)"))
    else:
        findings.append(Finding("gpu", "note", "none", "The bundled model does not need one."))
    return findings


def _models() -> list[Finding]:
    from accompany.models.pretrained import list_bundles

    names = [str(name) for name in list_bundles()]
    if names:
        return [Finding("models", "ok", ", ".join(names))]
    advice = "Reinstall accompany, or name a folder with --model."
    return [Finding("models", "broken", "no bundled model in this installation", advice)]


def _licences() -> list[Finding]:
    """The licence of each bundled model's weights, and what those of the published ones mean."""
    from accompany.models.pretrained import find_bundle, list_bundles, read_bundle

    findings = []
    for name in list_bundles():
        info = read_bundle(find_bundle(name))
        licences = sorted({info.license, *(part.license for part in info.parts)})
        bound = any(_NON_COMMERCIAL.search(licence) for licence in licences)
        advice = "Not for commercial use; ask the authors, or train your own." if bound else ""
        findings.append(Finding(f"licence {name}", "note" if bound else "ok", ", ".join(licences), advice))
    found = "MERT and MusicGen's EnCodec are CC BY-NC 4.0; each part's licence is logged as it loads"
    advice = "Not for commercial use: choose other parts for that, such as those of the bundled model."
    return [*findings, Finding("licence published", "note", found, advice)]


def _hub() -> list[Finding]:
    """Whether models that are named by a hub id can be downloaded; whether a token is there, never which."""
    import huggingface_hub
    from huggingface_hub import constants, utils

    login = "logged in" if huggingface_hub.get_token() else "not logged in"
    if constants.HF_HUB_OFFLINE:
        return [Finding("hub", "note", "switched off by HF_HUB_OFFLINE", "Unset it to download models by hub id.")]
    try:
        utils.get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except Exception as error:  # the session's own errors differ between versions
        advice = (
            "Only models by hub id need it: check the network and HTTPS_PROXY, set HF_ENDPOINT for a mirror, or fetch "
            "them elsewhere and name their folders."
        )
        return [Finding("hub", "note", f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})", advice)]
    advice = "" if login == "logged in" else "Only gated models and uploads need a login: hf auth login."
    return [Finding("hub", "ok" if login == "logged in" else "note", f"{constants.ENDPOINT}, {login}", advice)]


def _ffmpeg() -> list[Finding]:
    where = shutil.which("ffmpeg")
    if where:
        return [Finding("ffmpeg", "ok", where)]
    advice = "Only needed for M4A, AAC, WMA and video files: apt install ffmpeg, or brew install ffmpeg."
    return [Finding("ffmpeg", "note", "not found", advice)]


def _fluidsynth() -> list[Finding]:
    try:
        importlib.import_module("fluidsynth")
    except (ImportError, OSError, AttributeError) as error:
        advice = 'Only `accompany synth` needs it: pip install "accompany[synth]" and apt install fluidsynth.'
        return [Finding("libfluidsynth", "note", str(error).splitlines()[0], advice)]
    return [Finding("libfluidsynth", "ok", "found")]


def _soundfont() -> list[Finding]:
    from accompany.data.songs.soundfont import find_soundfont
    from accompany.errors import InputError

    try:
        return [Finding("soundfont", "ok", str(find_soundfont()))]
    except (InputError, ImportError) as error:
        return [Finding("soundfont", "note", str(error), "Only `accompany synth` needs one.")]


def _extras() -> list[Finding]:
    """Which optional sets of packages are complete, as the installed metadata lists them."""
    findings = []
    for extra in importlib.metadata.metadata("accompany").get_all("Provides-Extra") or ():
        missing = [name for name in _wanted(extra) if not _installed(name)]
        advice = f'pip install "accompany[{extra}]"' if missing else ""
        found = f"missing {', '.join(missing)}" if missing else "complete"
        findings.append(Finding(f"extra {extra}", "note" if missing else "ok", found, advice))
    return findings


def _wanted(extra: str) -> list[str]:
    lines = [line for line in importlib.metadata.requires("accompany") or [] if f'extra == "{extra}"' in line]
    return [re.split(r"[\s<>=!~;\[]", line)[0] for line in lines]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _disk() -> list[Finding]:
    """Free space here, and where the hub's downloads go."""
    from huggingface_hub import constants

    places = {"disk": Path.cwd(), "disk of downloads": Path(constants.HF_HUB_CACHE)}
    return [
        _space(name, next(each for each in (path, *path.parents) if each.is_dir())) for name, path in places.items()
    ]


def _space(name: str, folder: Path) -> Finding:
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < _LOW_DISK_GB:
        advice = f"Free some: training data and published models need far more than {_LOW_DISK_GB:.0f} GB."
        return Finding(name, "note", f"{free_gb:.1f} GB free in {folder}", advice)
    return Finding(name, "ok", f"{free_gb:.0f} GB free in {folder}")


def add(commands: Any) -> None:
    """Add the command to the command line."""
    add_json(command(commands, "doctor", "check this installation and say what to do", "accompany doctor"))


def run(args: argparse.Namespace) -> int:
    """Look at the installation; exit code 1 when something is broken."""
    findings = examine()
    for finding in findings:
        say(f"{finding.status:<7}{finding.name:<17}{finding.found}")
        if finding.advice:
            say(f"{'':<24}{finding.advice}")
    if args.json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    return 1 if any(finding.status == "broken" for finding in findings) else 0
