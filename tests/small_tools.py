"""Small packages with the doors of fadtk, audio-metrics and COCOLA, to be found on the PYTHONPATH of a child process.

They compute simple figures in earnest. `FAIL_AT` in the environment makes them fail: `load` or `run`.
"""

from __future__ import annotations

import json
from pathlib import Path

_FADTK = '''
import os
from types import SimpleNamespace
import numpy as np
import wave

class CLAPLaionModel:
    def __init__(self, kind):
        assert kind == "music"
        self.name, self.parts = "clap-laion-music", 10

class VGGishModel:
    name, parts = "vggish", 20

def place(model, file):
    return file.parent / "embeddings" / model.name / (file.stem + ".npy")

class FrechetAudioDistance:
    """Vectors are level and number of zero crossings of parts of a clip."""
    def __init__(self, model, audio_load_worker):
        if os.environ.get("FAIL_AT") == "load":
            raise RuntimeError("the weights\\nare broken.")
        self.model = model

    def cache_embedding_file(self, file):
        with wave.open(str(file)) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
        parts = np.array_split(samples, self.model.parts)
        vectors = [[np.sqrt(np.mean(part**2)), np.mean(np.diff(np.sign(part)) != 0)] for part in parts]
        place(self.model, file).parent.mkdir(parents=True, exist_ok=True)
        np.save(place(self.model, file), np.array(vectors, np.float16))

    def read_embedding_file(self, file):
        return np.load(place(self.model, file))

    def score_inf(self, baseline, files, steps, min_n):
        assert steps == 25 and 2 <= min_n <= 500
        mine = np.concatenate([self.read_embedding_file(file) for file in files]).astype(float)
        if not mine.any():
            raise np.linalg.LinAlgError("singular matrix")
        true = np.concatenate([self.read_embedding_file(file) for file in sorted(baseline.glob("*.wav"))])
        drawn = mine[np.random.choice(len(mine), min_n)]
        return SimpleNamespace(score=np.square(drawn.mean(0) - true.mean(0)).sum())
'''

_AUDIO_METRICS = '''
import os
import numpy as np

class AudioMetrics:
    """Adherence is 1 and the correlation of vocal and accompaniment over that of the reference; of one pair 0."""
    def __init__(self, metrics, device_indices, input_sr):
        assert metrics == ["apa"] and device_indices == [None]
        self.rate = input_sr

    def _fit(self, pairs):
        pairs = list(pairs)
        assert all(pair.shape[1] == 2 and len(pair) >= 5 * self.rate for pair in pairs)
        return np.mean([np.corrcoef(pair.T)[0, 1] for pair in pairs])

    def add_reference(self, pairs):
        if os.environ.get("FAIL_AT") == "run":
            raise RuntimeError("out of memory")
        pairs = list(pairs)
        self.alone, self.reference = len(pairs) < 2, self._fit(pairs)

    def evaluate(self, pairs):
        return {"apa": 0.0 if self.alone else 1 + self._fit(pairs) - self.reference}
'''

_COCOLA = '''
import json
import numpy as np

class CoCola:
    """The score is the correlation of two chunks times a factor that is the checkpoint."""
    @classmethod
    def load_from_checkpoint(cls, path, map_location):
        self = cls()
        self.factor = json.load(open(path))["factor"]
        return self

    def eval(self):
        return self

    def set_embedding_mode(self, mode):
        assert mode == "both"

    def score(self, x, y):
        assert x.shape == y.shape == (len(x), 2, 80000)
        return self.factor * np.array([np.corrcoef(a[0], b[1])[0, 1] for a, b in zip(x, y)])
'''

_FEATURES = '''
import numpy as np

class CoColaFeatureExtractor:
    """Two channels of a chunk; like the real one it drops the batch of one."""
    def __call__(self, x):
        x = x if x.ndim == 3 else x[None]
        return np.repeat(x, 2, axis=1).squeeze(0) if len(x) == 1 else np.repeat(x, 2, axis=1)
'''

_TORCH = """
from contextlib import nullcontext
from types import SimpleNamespace
cuda = SimpleNamespace(is_available=lambda: False)
serialization = SimpleNamespace()
from_numpy, no_grad = (lambda array: array), nullcontext
"""

_LIBROSA = """
import numpy as np
def resample(sound, orig_sr, target_sr):
    times = np.arange(round(len(sound) * target_sr / orig_sr)) * orig_sr / target_sr
    return np.interp(times, np.arange(len(sound)), sound).astype(np.float32)
"""


def write_tools(folder: Path) -> Path:
    """`folder/packages` for the PYTHONPATH, `folder/repo` and `folder/cocola.ckpt` for COCOLA."""
    files = {
        "packages/fadtk/__init__.py": _FADTK,
        "packages/audio_metrics/__init__.py": _AUDIO_METRICS,
        "packages/torch.py": _TORCH,
        "packages/librosa.py": _LIBROSA,
        "repo/contrastive_model/constants.py": "class EmbeddingMode:\n    BOTH = 'both'\n",
        "repo/contrastive_model/contrastive_model.py": _COCOLA,
        "repo/feature_extraction/feature_extraction.py": _FEATURES,
        "cocola.ckpt": json.dumps({"factor": 3.0}),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
