"""A project: one vocal and its takes as plain files in a folder.

    project.json             model and its precision, name and sum of the vocal, the current take, how files are
                             written, and of which take they are
    vocal.wav                the recording, as it was given
    takes/0001/take.json     settings, edits, seed, plan, scores, and which take it came from
    takes/0001/band.wav      what the band played, 32-bit float: an edit leaves samples outside of it bit by bit
    takes/0001/drums.wav     its stems likewise (bass.wav, other.wav), those that play, of a model that has stems
    takes/0001/draft.safetensors    codes and tokens, from which parts are made again
    song.accompaniment.wav   the current take, as `project.json` says files are written (`song` is the vocal's name)

An edit makes a new take and never changes an old one, so undo is to go back to the take that it came from.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.config import write_json
from accompany.common.files import part_beside, remove_part, require_writable
from accompany.common.folders import sha256, writing_into
from accompany.errors import InputError
from accompany.generation.edit import Edit
from accompany.generation.project_file import FORMAT, PROJECT_FILE, TAKE_FILE, inside, plain, read_project, read_take
from accompany.generation.settings import Settings
from accompany.generation.take import Source, Take
from accompany.generation.vocals import read_vocal
from accompany.music.instrumentation import STEMS
from accompany.music.plan_files import plan_from_dict
from accompany.sound.options import Sound

_log = logging.getLogger(__name__)

_TAKES, _BAND, _DRAFT = "takes", "band.wav", "draft.safetensors"


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
            "vocal": plain(f"vocal{source.suffix}"),
            "vocal_sha256": sha256(source),
            "name": plain(source.stem),
            "current": None,
            "sound": {},
            "suffix": ".wav",
            "mix": False,
        }
        try:
            with writing_into(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with _new_folder(path) as made:
                    (made / _TAKES).mkdir()
                    shutil.copyfile(source, made / str(content["vocal"]))
                    write_json(made / PROJECT_FILE, content)
        except OSError as error:
            raise InputError(f"Cannot write into {path} ({error.strerror}); choose another folder.") from error
        return cls(path, content)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Project:
        """Open a project.

        Where a run was killed after a take became the current one and before its files were written, they are written.

        Raises:
            InputError: the folder holds none, a broken one, one with names that leave the folder, or another vocal than
                the takes were made from.
        """
        path = Path(folder)
        project = cls(path, content := read_project(path))
        audio.info(inside(project.vocals, path))
        if content.get("vocal_sha256") not in (None, sha256(project.vocals)):
            raise InputError(f"{project.vocals} is another recording than the takes were made from; put that one back.")
        inside(path / _TAKES, path)
        if not (path / _TAKES).is_dir():
            raise InputError(f"{path} lacks the folder {_TAKES}; put back what accompany wrote.")
        project._catch_up()
        return project

    def _catch_up(self) -> None:
        written = self._content.get("written")
        if written is None or written == self.current:
            return
        try:
            self.write_files()
            _log.info("A run was stopped before it wrote the files of take %s; they are written now.", self.current)
        except InputError as error:
            _log.warning("The files of %s are those of take %s, not %s: %s", self.folder, written, self.current, error)

    def require_writable(self) -> None:
        """Refuse a project that no take can be added to, before the work. InputError says why."""
        for folder in (self.folder, self.folder / _TAKES):
            require_writable(folder)

    @property
    def model(self) -> str:
        """The model that its takes are made with."""
        return str(self._content["model"])

    @property
    def precision(self) -> str:
        """The precision of the model, as in `accompany.load`."""
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
        with writing_into(self.folder):
            self._write(current=name)

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
        with writing_into(self.folder):
            name = self._keep(take, facts)
            try:
                self.choose(name)
            except BaseException:
                shutil.rmtree(self.folder / _TAKES / name, ignore_errors=True)
                raise
        return name

    def _keep(self, take: Take, facts: dict[str, Any]) -> str:
        """Write the folder of a take; its name."""
        from safetensors.numpy import save

        made = part_beside(self.folder / _TAKES / "new")
        try:
            made.mkdir()
            playing = {f"{name}.wav": sound for name, sound in (take.stems or {}).items() if name not in take.muted}
            for file, samples in {_BAND: take.samples, **playing}.items():
                audio.write(made / file, samples, take.sample_rate, subtype="FLOAT")
                if (made / file).stat().st_size < samples.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / _TAKES))
            if take.draft is not None:
                (made / _DRAFT).write_bytes(save({"codes": take.draft.codes, "tokens": take.draft.tokens}))
            write_json(made / TAKE_FILE, facts)
            while True:
                name = f"{max(map(int, self._names()), default=0) + 1:04d}"
                try:
                    made.rename(self.folder / _TAKES / name)
                    return name
                except OSError as error:  # another run took the name meanwhile
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
        finally:
            remove_part(made)

    def take(self, name: str | None = None) -> Take:
        """A take, by default the current one. InputError when it is not there, or broken."""
        from safetensors import SafetensorError

        name = name or self._current()
        facts = self._facts(name)
        folder = self.folder / _TAKES / name
        band = audio.read(inside(folder / _BAND, self.folder))
        try:
            voice = _rested(read_vocal(self.vocals, band.sample_rate), facts, band)
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
                stems=self._stems(folder, band),
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, SafetensorError) as error:
            raise InputError(
                f"Take {name} of {self.folder} cannot be read ({error!r}); undo, or make it anew."
            ) from error

    def write_with(self, sound: Sound, suffix: str = ".wav", mix: bool = False) -> None:
        """Decide how the files of the current take are written."""
        with writing_into(self.folder):
            self._write(sound=asdict(sound), suffix=suffix, mix=mix)

    def write_files(self) -> list[Path]:
        """Write the accompaniment of the current take, and the mix where that is wanted."""
        sound, mix = Sound(**self._content["sound"]), bool(self._content["mix"])
        take = self.take()
        names = [f"{self._content['name']}.{kind}{self._content['suffix']}" for kind in ("accompaniment", "mix")]
        files = [inside(self.folder / name, self.folder) for name in names[: 1 + mix]]
        with writing_into(self.folder):
            take.save(files[0], sound)
            if mix:
                take.save_mix(files[1], sound)
            self._write(written=self.current)
        return files

    def _current(self) -> str:
        if self.current is None:
            raise InputError(f"{self.folder} has no take yet; accompany generate --project makes the first.")
        return self.current

    def _names(self) -> list[str]:
        """Of all takes, oldest first. Folders of other names, such as the copies of a file manager, are none."""
        names = (path.name for path in (self.folder / _TAKES).iterdir())
        return sorted(name for name in names if name.isascii() and name.isdecimal())

    def _facts(self, name: str) -> dict[str, Any]:
        folder = self.folder / _TAKES / name
        if not (name.isascii() and name.isdecimal() and (folder / TAKE_FILE).is_file()):
            known = ", ".join(self._names()) or "none"
            raise InputError(f"There is no take {name} in {self.folder}; there are: {known}.")
        inside(folder, self.folder)
        return read_take(folder, self.folder)

    def _stems(self, folder: Path, band: audio.Audio) -> dict[str, np.ndarray] | None:
        """The stems of a take, silence where one does not play; None where none were kept."""
        files = {name: inside(folder / f"{name}.wav", self.folder) for name in STEMS}
        if not any(file.is_file() for file in files.values()):
            return None
        silence = np.zeros_like(band.samples)
        stems = {name: audio.read(file).samples if file.is_file() else silence for name, file in files.items()}
        if any(sound.shape != band.samples.shape for sound in stems.values()):
            raise ValueError("its stems are not as long as the band")
        return stems

    def _draft(self, name: str, gain: float | None) -> Any:
        from safetensors.numpy import load_file

        from accompany.generation.take import Draft

        path = self.folder / _TAKES / name / _DRAFT
        if gain is None or not path.is_file():
            return None
        tensors = load_file(inside(path, self.folder))
        for part, lowest in (("codes", 0), ("tokens", -1)):
            if tensors[part].ndim != 2 or tensors[part].dtype != np.int32 or tensors[part].min(initial=0) < lowest:
                raise ValueError(f"{_DRAFT} holds no {part}")
        return Draft(tensors["codes"], tensors["tokens"], gain)

    def _write(self, **changes: Any) -> None:
        """Change fields of `project.json`; what is not written is not changed here either."""
        content = {**self._content, **changes}
        write_json(self.folder / PROJECT_FILE, content)
        self._content = content


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under its name when complete, and not at all when it does not get so far."""
    is_there = path.is_dir()  # and empty; it stays, since it may be a disk, or where somebody stands
    made = part_beside(path / "new" if is_there else path)
    made.mkdir()
    try:
        yield made
        for file in sorted(made.iterdir(), key=lambda each: each.name == PROJECT_FILE) if is_there else ():
            file.rename(path / file.name)
        if not is_there:
            made.rename(path)
    finally:
        remove_part(made)


def _rested(voice: np.ndarray, facts: dict[str, Any], band: audio.Audio) -> np.ndarray:
    """A voice [1, T] with the rests that extensions put around it; ValueError where the band is that of another."""
    before, n_samples = round(facts["before_s"] * band.sample_rate), band.samples.shape[-1]
    rests = n_samples - before - voice.shape[-1]
    if rests < 0 or (rests > 0 and not any(edit.get("kind") == "extend" for edit in facts["edits"])):
        raise ValueError("the vocal and its band differ in length")
    return audio.fit_length(np.pad(voice, [(0, 0), (before, 0)]), n_samples)
