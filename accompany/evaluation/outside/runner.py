"""Runs in the environment of another package, as `python runner.py JOB ANSWER`, and knows nothing of accompany.

JOB is a JSON file: `tool`, `seed`, `sample_rate` (Hz), `reference` (a row), `vocals` (paths of mono 16-bit wav files,
one for each clip), `rows` (for each row a path for each clip, or null where there is none), and what the tool needs
besides. ANSWER becomes `{"rows": {ROW: {FIGURE: number}}, "clips": {ROW: {FIGURE: [number or null for each path]}},
"vectors": {FIGURE: {ROW: [.npy for each path]}}, "left_out": [figure, row and reason]}`. Without rows the tool
is only loaded, weights and all.
"""

from __future__ import annotations

import json
import random
import sys
import traceback
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

FAD_STEPS = 25
FAD_MIN_VECTORS = 500
"""Both are the package's own: so many sample sizes, from so many vectors on."""
COCOLA_RATE = 16000
COCOLA_CHUNK_S = 5
REFERENCE_APA = 0.5
MAX_TEXT = 200


def frechet_distances(job: dict[str, Any]) -> dict[str, Any]:
    """`fad_clap_inf` and `fad_vggish_inf` of every row but the reference by fadtk."""
    from fadtk import CLAPLaionModel, FrechetAudioDistance, VGGishModel

    answer = _empty()
    for figure, make in (("fad_clap_inf", lambda: CLAPLaionModel("music")), ("fad_vggish_inf", VGGishModel)):
        model = make()
        distance = FrechetAudioDistance(model, audio_load_worker=1)
        vectors: dict[str, list[str]] = {}
        for name, paths in job["rows"].items():
            files = [Path(path) for path in paths if path]
            for file in files:
                distance.cache_embedding_file(file)
            vectors[name] = [str(file.parent / "embeddings" / model.name / f"{file.stem}.npy") for file in files]
        answer["vectors"][figure] = vectors
        for name, score in _each_row(job, answer, figure, partial(_fad, distance, job)):
            answer["rows"].setdefault(name, {})[figure] = score
    return answer


def _fad(distance: Any, job: dict[str, Any], name: str) -> float | None:
    """FAD-inf of one row; half of the vectors are the smallest sample where there are few."""
    if name == job["reference"]:
        return None
    np.random.seed(job["seed"])  # the package draws from the global generator
    files = [Path(path) for path in job["rows"][name] if path]
    count = sum(len(distance.read_embedding_file(file)) for file in files)
    reference = next(Path(path).parent for path in job["rows"][job["reference"]] if path)
    found = distance.score_inf(reference, files, steps=FAD_STEPS, min_n=min(FAD_MIN_VECTORS, count // 2))
    return float(np.real(found.score))


def adherence(job: dict[str, Any]) -> dict[str, Any]:
    """`apa` of every row by audio-metrics: pairs of vocal and accompaniment against those of the reference."""
    import torch
    from audio_metrics import AudioMetrics

    # Without a device the package insists on a GPU; one called None leaves the network on the CPU, where it is.
    devices = None if torch.cuda.is_available() else [None]
    metrics = AudioMetrics(metrics=["apa"], device_indices=devices, input_sr=job["sample_rate"])
    answer = _empty()
    if not job["rows"]:
        return answer
    random.seed(job["seed"])  # the package draws the wrong pairs from the global generator
    metrics.add_reference(_pairs(job, job["reference"]))
    for name, score in _each_row(job, answer, "apa", lambda name: metrics.evaluate(_pairs(job, name))["apa"]):
        answer["rows"][name] = {"apa": float(score)}
    # The reference scores 1, but 0 (as all rows do) where its wrong pairs came out as the right ones.
    if answer["rows"].get(job["reference"], {"apa": 0.0})["apa"] < REFERENCE_APA:
        raise ValueError("too few clips to draw wrong pairs from; give more")
    return answer


def _pairs(job: dict[str, Any], name: str) -> Iterator[np.ndarray]:
    """Vocal and accompaniment `[T, 2]` of each clip of a row."""
    for vocal, path in zip(job["vocals"], job["rows"][name], strict=True):
        if path:
            yield np.stack([read_wav(vocal), read_wav(path)], axis=1)


def coherence(job: dict[str, Any]) -> dict[str, Any]:
    """`cocola` of every clip of every row: mean over chunks of 5 s."""
    if job["repo"]:
        sys.path.insert(0, job["repo"])
    import torch
    from contrastive_model import constants
    from contrastive_model.contrastive_model import CoCola
    from feature_extraction.feature_extraction import CoColaFeatureExtractor

    if hasattr(torch.serialization, "add_safe_globals"):  # checkpoints hold settings of these kinds
        torch.serialization.add_safe_globals([kind for kind in vars(constants).values() if isinstance(kind, type)])
    model = CoCola.load_from_checkpoint(job["checkpoint"], map_location="cpu").eval()
    model.set_embedding_mode(constants.EmbeddingMode.BOTH)
    features = CoColaFeatureExtractor()

    def hear(path: str) -> Any:
        found = features(torch.from_numpy(_chunks(read_wav(path), job["sample_rate"])))
        return found if found.ndim == 4 else found[None]  # of a batch of one the package drops the batch

    vocals = [hear(path) for path in job["vocals"]]

    def scores(name: str) -> list[float | None]:
        pairs = zip(vocals, job["rows"][name], strict=True)
        return [_number(model.score(vocal, hear(path)).mean()) for vocal, path in pairs if path]

    answer = _empty()
    with torch.no_grad():
        for name, column in _each_row(job, answer, "cocola", scores):
            answer["clips"][name] = {"cocola": column}
    return answer


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(float(value)) else None


def _chunks(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Whole chunks `[N, 1, T]` of 5 s at 16 kHz."""
    import librosa

    resampled = librosa.resample(sound, orig_sr=sample_rate, target_sr=COCOLA_RATE)
    length = COCOLA_CHUNK_S * COCOLA_RATE
    return resampled[: len(resampled) // length * length].reshape(-1, 1, length)


def read_wav(path: str) -> np.ndarray:
    """The samples `[T]` of a mono 16-bit wav file as float32, -1 to 1."""
    with wave.open(path, "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return (samples / 32768).astype(np.float32)


def _empty() -> dict[str, Any]:
    return {"rows": {}, "clips": {}, "vectors": {}, "left_out": []}


def _each_row(
    job: dict[str, Any], answer: dict[str, Any], figure: str, ask: Callable[[str], Any]
) -> Iterator[tuple[str, Any]]:
    """Each row's name and result; one that fails or is no number is left out, with a sentence about it."""
    for name in job["rows"]:
        try:
            found = ask(name)
        except Exception as error:  # whatever a package raises of one row must not cost the others
            answer["left_out"].append(f"{figure} of {name} ({_sentence(error)})")
            continue
        if isinstance(found, float) and not np.isfinite(found):
            answer["left_out"].append(f"{figure} of {name} (the result is {found})")
        elif found is not None:
            yield name, found


def _sentence(error: Exception) -> str:
    """An exception in one line of at most 200 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 4]} ..."


TOOLS = {"fadtk": frechet_distances, "audio-metrics": adherence, "cocola": coherence}


def main(job_path: str, answer_path: str) -> None:
    """Do a job and write its answer; a failure's last line on stderr says what went wrong, and the exit code is 1."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    try:
        answer = TOOLS[job["tool"]](job)
    except Exception as error:
        traceback.print_exc()
        sys.exit(_sentence(error))
    part = Path(answer_path).with_suffix(".part")
    part.write_text(json.dumps(answer), encoding="utf-8")
    part.replace(answer_path)


if __name__ == "__main__":
    # What lies beside this file must not be taken for a package of this environment.
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]
    main(*sys.argv[1:])
