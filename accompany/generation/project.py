"""A project: one vocal and its takes as plain files in a folder.

    project.json             model and its precision, name of the vocal, the current take, how files are written
    vocal.wav                the recording, as it was given
    takes/0001/take.json     settings, edits, seed, plan, scores, and which take it came from
    takes/0001/band.wav      what the band played, 32-bit float: an edit leaves samples outside of it bit by bit
    takes/0001/draft.safetensors    codes and tokens, from which parts are made again
    song.accompaniment.wav   the current take, as `project.json` says files are written (`song` is the vocal's name)

An edit makes a new take and never changes an old one, so undo is to go back to the take that it came from.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.config import read_json, write_json
from accompany.errors import InputError
from accompany.generation.settings import Settings
from accompany.generation.take import Edit, Source, Take
from accompany.generation.vocals import read_vocal
from accompany.music.plan import plan_from_dict
from accompany.sound import Sound

FORMAT = "accompany project 1"
_TAKES, _FILE = "takes", "project.json"


@dataclass(frozen=True)
class Entry:
    """One take in the list of a project: its name, the one it came from, and what is said of it."""

    name: str
    parent: str | None
    kind: str
    seed: int
    prompt: str
    scores: dict[str, float]


class Project:
    """An open project folder; see the module for its files."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        """Use `create` or `open`."""
        self.folder = folder
        self._content = content

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        vocals: str | os.PathLike[str],
        model: str,
        precision: str = "auto",
    ) -> Project:
        """A new project with a copy of the vocal; the folder appears when it is complete.

        Raises:
            InputError: the folder holds anything, or cannot be written.
        """
        path, source = Path(folder), Path(vocals)
        audio.info(source)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} is there already; name a new folder for the project.")
        content: dict[str, Any] = {
            "format": FORMAT,
            "model": model,
            "precision": precision,
            "vocal": f"vocal{source.suffix}",
            "name": source.stem,
            "current": None,
            "sound": {},
            "suffix": ".wav",
            "mix": False,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _new_folder(path) as made:
                (made / _TAKES).mkdir()
                shutil.copyfile(source, made / str(content["vocal"]))
                write_json(made / _FILE, content)
        except OSError as error:
            raise InputError(f"Cannot write into {path} ({error.strerror}); choose another folder.") from error
        return cls(path, content)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Project:
        """Open a project. InputError when the folder holds none, or a broken one."""
        path = Path(folder)
        if not (path / _FILE).is_file():
            raise InputError(f"{path} is no project; accompany generate --project {path} makes one.")
        content = read_json(path / _FILE)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path / _FILE} is not of this version of accompany; make the project anew.")
        missing = ", ".join(name for name in ("model", "vocal", "current") if name not in content)
        if missing:
            raise InputError(f"{path / _FILE} lacks {missing}; put back what accompany wrote.")
        return cls(path, content)

    @property
    def model(self) -> str:
        """The model that its takes are made with."""
        return str(self._content["model"])

    @property
    def precision(self) -> str:
        """What the model is loaded in, as `accompany.load` takes it."""
        return str(self._content.get("precision", "auto"))

    @property
    def vocals(self) -> Path:
        """The recording."""
        return self.folder / Path(str(self._content["vocal"])).name

    @property
    def current(self) -> str | None:
        """Name of the current take."""
        return self._content["current"]

    def choose(self, name: str) -> None:
        """Make a take the current one. InputError when there is none of that name."""
        self._facts(name)
        self._content["current"] = name
        self._write()

    def undo(self) -> str:
        """Go back to the take that the current one came from; its name. InputError when it came from none."""
        facts = self._facts(self._current())
        if facts["parent"] is None:
            raise InputError(f"Take {self.current} is the first one, so there is nothing to undo.")
        self.choose(facts["parent"])
        return str(facts["parent"])

    def entries(self) -> list[Entry]:
        """All takes, oldest first."""
        found = []
        for name in self._names():
            facts = self._facts(name)
            found.append(Entry(name, facts["parent"], facts["kind"], facts["settings"]["seed"],
                               facts["settings"]["prompt"], facts["scores"]))  # fmt: skip
        return found

    def add(self, take: Take, parent: str | None = None) -> str:
        """Keep a take, and make it the current one; its name."""
        from safetensors.numpy import save_file

        name = f"{max(map(int, self._names()), default=0) + 1:04d}"
        facts = {
            "kind": take.edits[-1].kind if take.edits else "generate",
            "parent": parent,
            "settings": take.settings.as_dict(),
            "edits": [edit.as_dict() for edit in take.edits],
            "plan": asdict(take.plan),
            "scores": dict(take.scores),
            "before_s": take.source.before_s if take.source else 0.0,
            "gain": take.draft.gain if take.draft else None,
            "wall_s": round(take.wall_s, 3),
        }
        with _new_folder(self.folder / _TAKES / name) as folder:
            audio.write(folder / "band.wav", take.samples, take.sample_rate, subtype="FLOAT")
            if take.draft is not None:
                save_file({"codes": take.draft.codes, "tokens": take.draft.tokens}, folder / "draft.safetensors")
            write_json(folder / "take.json", facts)
        self.choose(name)
        return name

    def take(self, name: str | None = None) -> Take:
        """A take, by default the current one. InputError when it is not there, or broken."""
        from safetensors import SafetensorError

        name = name or self._current()
        facts = self._facts(name)
        band = audio.read(self.folder / _TAKES / name / "band.wav")
        try:
            voice = _rested(read_vocal(self.vocals, band.sample_rate), facts["before_s"], band)
            recording = audio.info(self.vocals)
            return Take(
                samples=band.samples,
                sample_rate=band.sample_rate,
                vocals=voice,
                plan=plan_from_dict(facts["plan"]),
                settings=Settings.from_dict(facts["settings"]),
                wall_s=float(facts["wall_s"]),
                source=Source(recording.n_samples, recording.sample_rate, self.vocals, before_s=facts["before_s"]),
                draft=self._draft(name, facts["gain"]),
                edits=tuple(Edit.from_dict(edit) for edit in facts["edits"]),
                scores=facts["scores"],
            )
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise InputError(
                f"Take {name} of {self.folder} cannot be read ({error!r}); undo, or make it anew."
            ) from error

    def write_with(self, sound: Sound, suffix: str = ".wav", mix: bool = False) -> None:
        """Decide how the files of the current take are written."""
        self._content.update(sound=asdict(sound), suffix=suffix, mix=mix)
        self._write()

    def write_files(self) -> list[Path]:
        """Write the accompaniment of the current take, and the mix where that is wanted."""
        try:
            sound = Sound(**self._content["sound"])
            name, suffix, mix = str(self._content["name"]), str(self._content["suffix"]), bool(self._content["mix"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.folder / _FILE} does not say how files are written ({error!r}); put back what accompany wrote."
            ) from error
        take = self.take()
        files = [self.folder / f"{name}.accompaniment{suffix}"]
        take.save(files[0], sound)
        if mix:
            files.append(self.folder / f"{name}.mix{suffix}")
            take.save_mix(files[1], sound)
        return files

    def _current(self) -> str:
        if self.current is None:
            raise InputError(f"{self.folder} has no take yet; accompany generate --project makes the first.")
        return self.current

    def _names(self) -> list[str]:
        """Of all takes, oldest first. Folders of other names, such as the copies of a file manager, are none."""
        return sorted(path.name for path in (self.folder / _TAKES).iterdir() if path.name.isdecimal())

    def _facts(self, name: str) -> dict[str, Any]:
        if not (name.isdecimal() and (self.folder / _TAKES / name / "take.json").is_file()):
            known = ", ".join(self._names()) or "none"
            raise InputError(f"There is no take {name} in {self.folder}; there are: {known}.")
        facts: dict[str, Any] = read_json(self.folder / _TAKES / name / "take.json")
        return facts

    def _draft(self, name: str, gain: float | None) -> Any:
        from safetensors.numpy import load_file

        from accompany.generation.draft import Draft

        path = self.folder / _TAKES / name / "draft.safetensors"
        if gain is None or not path.is_file():
            return None
        tensors = load_file(path)
        return Draft(tensors["codes"], tensors["tokens"], gain)

    def _write(self) -> None:
        write_json(self.folder / _FILE, self._content)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under its name when complete, and not at all when it does not get so far."""
    is_there = path.is_dir()  # and empty; it stays, since it may be a disk, or where somebody stands
    made = Path(tempfile.mkdtemp(dir=path if is_there else path.parent, prefix=".new-"))
    try:
        yield made
        made.chmod(0o755)
        for file in sorted(made.iterdir(), key=lambda each: each.name == _FILE) if is_there else ():
            file.rename(path / file.name)
        if not is_there:
            made.rename(path)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _rested(voice: np.ndarray, before_s: float, band: audio.Audio) -> np.ndarray:
    """A voice [1, T] with the rests that extensions put around it."""
    before = round(before_s * band.sample_rate)
    return audio.fit_length(np.pad(voice, [(0, 0), (before, 0)]), band.samples.shape[-1])
