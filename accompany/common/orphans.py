"""Half-written files whose process is dead."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_OURS = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{32}\.part")  # machine, process
_OLD = re.compile(r"\.[0-9a-f]{32}\.part")  # of releases that did not say whose it was
_OLD_S = 86_400


def is_orphan(path: Path, machine: str) -> bool:
    """Whether a half-written file or folder was left by a dead process of this `machine`, or is too old."""
    owned = _OURS.fullmatch(path.name)
    if owned is None:
        return _OLD.fullmatch(path.name) is not None and time.time() - path.lstat().st_mtime > _OLD_S
    if owned[1] != machine or os.name != "posix":
        return False
    try:
        os.kill(int(owned[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
