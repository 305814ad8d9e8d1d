"""Settings files: a take as JSON of everything that it was made from, and the take made again from that."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import accompany
from accompany.common.checks import check_text
from accompany.common.config import read_json
from accompany.common.folders import save_json, sha256
from accompany.common.weights import resolve_folder
from accompany.errors import InputError
from accompany.generation.edit import Edit
from accompany.generation.settings import Settings
from accompany.generation.take import Take
from accompany.sound.options import Sound

if TYPE_CHECKING:
    from accompany.api import Band

FORMAT = "accompany settings 1"


@dataclass(frozen=True)
class TakeRecipe:
    """What makes a take: the vocal, the model (with sums of both), settings with the plan, edits, and the sound.

    Attributes:
        vocals: the recording.
        vocals_sha256: of that file.
        model: name, folder or hub id.
        model_sha256: of its weights.
        precision: that the model was loaded in, as `accompany.load` takes it.
        settings: with the plan that was played.
        edits: in order.
        sound: of the files.
    """

    vocals: Path
    vocals_sha256: str
    model: str
    model_sha256: str
    settings: Settings
    edits: tuple[Edit, ...]
    sound: Sound
    precision: str = "auto"

    @classmethod
    def of(
        cls, take: Take, band: Band, vocals: str | os.PathLike[str], model: str, sound: Sound | None = None
    ) -> TakeRecipe:
        """The recipe of a take that this band made of this file.

        Raises:
            InputError: the model plays with an adapter, of which its name says nothing.
        """
        if band.bundle.adapted:
            raise InputError(
                "A settings file names the model, not its adapters; save a model that has them (export), and use that."
            )
        path = Path(vocals)
        plays = band.bundle.plans and not take.edits
        settings = take.settings.playing(take.plan) if plays else take.settings
        sums = file_sha256(path), model_sha256(band)
        return cls(path, sums[0], model, sums[1], settings, take.edits, sound or Sound(), band.precision)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, the vocal's path relative to it. InputError when it cannot be written."""
        target = Path(path)
        content = {
            "format": FORMAT,
            "accompany": accompany.__version__,
            "vocals": {"path": _relative(self.vocals, target.parent), "sha256": self.vocals_sha256},
            "model": {"name": self.model, "sha256": self.model_sha256, "precision": self.precision},
            "settings": self.settings.as_dict(),
            "edits": [edit.as_dict() for edit in self.edits],
            "sound": {name: value for name, value in asdict(self.sound).items() if value != asdict(Sound())[name]},
        }
        save_json(target, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TakeRecipe:
        """Read the JSON file. InputError names what is wrong with it."""
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path} is no settings file; accompany generate --settings writes one.")
        try:
            for value in (*content["vocals"].values(), *content["model"].values()):
                check_text("value of vocals and model", value)
            return cls(
                (Path(path).parent / content["vocals"]["path"]),
                content["vocals"]["sha256"],
                content["model"]["name"],
                content["model"]["sha256"],
                Settings.from_dict(content["settings"]),
                tuple(Edit.from_dict(edit) for edit in content["edits"]),
                Sound(**content["sound"]),
                str(content["model"].get("precision", "auto")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"Cannot read {path} ({error!r}); give it as accompany wrote it.") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def check_vocal(self) -> None:
        """InputError where the vocal is not there, or another one by now."""
        if file_sha256(self.vocals) != self.vocals_sha256:
            raise InputError(f"{self.vocals} is another recording now; put back the one that the take was made from.")

    def make(self, band: Band, progress: Callable[[float], None] | None = None) -> Take:
        """Make the take again.

        Raises:
            InputError: the vocal or the model is another one by now.
        """
        from accompany.generation.several import share_of

        self.check_vocal()
        if model_sha256(band) != self.model_sha256:
            raise InputError(f"The model {self.model} has other weights now; give the one that made the take.")
        steps = 1 + len(self.edits)
        (take,) = band.perform([self.vocals], [self.settings], share_of(progress, 0, steps))
        for done, edit in enumerate(self.edits, 1):
            take = band.edit(take, edit, share_of(progress, done, steps))
        return take


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file. InputError when it cannot be read."""
    try:
        return sha256(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"Cannot read {str(path)!r} ({reason}); put it back where the take was made.") from error


def model_sha256(band: Band) -> str:
    """One sum of all weights of a model."""
    folders = [resolve_folder(part.source) for part in band.bundle.info.parts]  # parts of the hub lie elsewhere
    files = sorted({file for folder in (band.bundle.path, *folders) for file in folder.rglob("*.safetensors")})
    return hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()


def _relative(path: Path, folder: Path) -> str:
    try:
        return os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:  # another drive
        return str(path.resolve())
