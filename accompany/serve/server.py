"""One running server: the model, the store and the two queues, and what a visitor can have done with them."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany import audio
from accompany.api import Band, check_takes
from accompany.common.checks import between
from accompany.errors import InputError
from accompany.generation.settings import Settings
from accompany.serve import work
from accompany.serve.disk import storing
from accompany.serve.jobs import Job, JobQueue
from accompany.serve.limits import Limits
from accompany.serve.pitch import outline
from accompany.serve.reception import Reception, Upload
from accompany.serve.schemas import RetakeRequest, TakeRequest, settings_of
from accompany.serve.store import StoredTake, Visitor, VisitorStore, Vocal
from accompany.serve.uploads import UploadedVocal, decode, display_name

if TYPE_CHECKING:
    from accompany.sound.separation import VocalSeparator


class BusyVisitorError(InputError):
    """One visitor has as many jobs as he may have."""


class Server:
    """Everything behind the API. A job of the model runs alone; analysis, which is short, has a queue of its own."""

    def __init__(self, band: Band, limits: Limits, root: Path | None = None) -> None:
        """Start the queues; files go into a new folder in `root`, or in the system's temporary one."""
        self.band, self.limits = band, limits
        self.reception = Reception(limits.max_uploads)
        self._separating = threading.Lock()
        self._separator: VocalSeparator | None = None
        self.store = VisitorStore(limits, root)
        self.making = JobQueue("band", limits.max_queue, limits.job_minutes * 60)
        self.analyzing = JobQueue("analysis", 2 * limits.max_queue, limits.job_minutes * 60)

    def close(self) -> None:
        """Cancel all jobs and delete all files."""
        self.making.close()
        self.analyzing.close()
        self.store.close()

    def uploading(self, who: str = "") -> AbstractContextManager[Upload]:
        """Count an upload while it runs (see `Reception.admit`)."""
        return self.reception.admit(who)

    def queue_of(self, job: Job) -> JobQueue:
        """The queue that a job is in."""
        return self.analyzing if job.kind == "listen" else self.making

    def take_in(self, visitor_id: str | None, upload: Path, name: str, separate: bool = False) -> tuple[Visitor, Vocal]:
        """Decode an upload, keep it as a vocal and queue its analysis; `upload` stays the caller's to delete.

        With `separate` it is a song, and the vocal is the voice in it. Who is not known yet becomes a visitor here,
        once his upload has turned out to be a vocal.

        Raises:
            InputError: unusable (see `accompany.serve.uploads.decode`), or one vocal too many.
            BusyError: the queue or the disk is full.
        """
        shown = display_name(name)
        sound = decode(upload, shown, self.band.sample_rate, self.limits)
        if separate:
            sound = self._separated(sound, shown)
        # Nobody's files are swept while they are being written.
        with self.store.serving(visitor_id, new=True) as visitor:
            vocal = self._store_vocal(visitor, sound, shown)
            try:
                analyze = partial(work.analyze, self.band, vocal)
                self._submit(visitor, Job("listen", visitor.id, vocal.id, analyze))
            except BaseException:
                self.store.delete_vocal(visitor, vocal.id, self.cancel)
                raise
            return visitor, vocal

    def generate(self, visitor: Visitor, vocal: Vocal, request: TakeRequest) -> Job:
        """Queue takes of a vocal. InputError for a request that cannot be, BusyError when the queue is full."""
        if not 1 <= request.takes <= work.MOST_TAKES:
            raise InputError(f"The number of takes {request.takes} must be {between(1, work.MOST_TAKES)}.")
        settings = settings_of(request, work.any_seed() if request.seed is None else request.seed)
        check_takes(request.takes, settings.seed)
        self.band.check_mute(settings)
        settings.check_cues(vocal.seconds, "the vocal")
        settings.check_within(vocal.seconds, "the vocal")
        self._check_takes(vocal, request.takes)
        made: list[str] = []
        make = partial(work.make_takes, self.band, self.store, vocal, settings, request.takes, made)
        return self._submit(visitor, Job("generate", visitor.id, vocal.id, make, made))

    def retake(self, visitor: Visitor, vocal: Vocal, take: StoredTake, request: RetakeRequest) -> Job:
        """Queue a take with a region made again. InputError and BusyError as for `generate`."""
        region = work.Region(request.start_s, request.end_s).fitted(vocal.seconds)
        if not self.band.bundle.plans:
            raise InputError(f"The model {self.band.name} can only generate; make another take instead.")
        options: dict[str, Any] = {"seed": work.any_seed() if request.seed is None else request.seed}
        Settings(request.prompt or "", **options).check_cues(vocal.seconds, "the vocal")
        if request.prompt is not None:
            options["prompt"] = request.prompt
        self._check_takes(vocal, 1)
        made: list[str] = []
        make = partial(work.make_retake, self.band, self.store, vocal, take, region, options, made)
        return self._submit(visitor, Job("retake", visitor.id, vocal.id, make, made))

    def cancel(self, job: Job) -> None:
        """Stop a job."""
        self.queue_of(job).cancel(job)

    def delete_vocal(self, visitor: Visitor, vocal_id: str) -> None:
        """Forget a vocal, its files and its jobs."""
        self.store.delete_vocal(visitor, vocal_id, self.cancel)

    def _separated(self, song: UploadedVocal, name: str) -> UploadedVocal:
        """The voice of a song, one song at a time. InputError where Demucs is not installed, or for silence."""
        from accompany.sound.covers import vocal_of
        from accompany.sound.separation import BUNDLED, VocalSeparator

        with self._separating:
            if self._separator is None:
                self._separator = VocalSeparator(BUNDLED)
            return UploadedVocal(vocal_of(song.samples, song.sample_rate, self._separator, name), song.sample_rate)

    def _submit(self, visitor: Visitor, job: Job) -> Job:
        active = [old for old in list(visitor.jobs.values()) if old.active and old.kind != "listen"]
        if job.kind != "listen" and len(active) >= self.limits.max_waiting:
            raise BusyVisitorError(f"You have {len(active)} jobs here already; wait for one, or cancel one.")
        self.queue_of(job).submit(job)
        self.store.add_job(visitor, job)
        return job

    def _check_takes(self, vocal: Vocal, more: int) -> None:
        if len(vocal.takes) + more > self.limits.max_takes:
            raise InputError(
                f"This vocal has {len(vocal.takes)} takes, and the limit is {self.limits.max_takes}; delete some first."
            )

    def _store_vocal(self, visitor: Visitor, sound: UploadedVocal, name: str) -> Vocal:
        folder = Path(tempfile.mkdtemp(dir=visitor.folder))
        try:
            path = folder / "vocal.wav"
            with storing():
                audio.write(path, sound.samples, sound.sample_rate, subtype="FLOAT")
            peaks = outline(sound.samples, work.OUTLINE_POINTS)
            vocal = Vocal(secrets.token_urlsafe(16), name, path, sound.seconds, sound.sample_rate, peaks)
            self.store.add_vocal(visitor, vocal)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return vocal
