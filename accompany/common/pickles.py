"""Safe reading of other projects' pickles: nothing that they name is run.

A pickle is a program: it may ask for any function to be called. Here it gets what tensors, numpy arrays and a fitted
k-means need, and everything else is refused by name. What is read is stored as safetensors afterwards.
"""

from __future__ import annotations

import collections
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from accompany.common.weights import PathLike, refuse_non_finite
from accompany.errors import InputError

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_KMEANS = ("sklearn.cluster._kmeans", "sklearn.cluster.k_means_")
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_state(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote: a state, or a training checkpoint that holds one as `state_dict`.

    Raises:
        InputError: the file is missing or broken, asks for anything but tensors and numbers, holds no state, or one
            with values that are not numbers.
    """
    content = read_checkpoint(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path} holds no state of a network (names with tensors); check which file it is.")
    state = {str(name): tensor for name, tensor in content.items()}
    refuse_non_finite(state, path)
    return state


def read_checkpoint(path: PathLike, names: Mapping[str, Any] | None = None) -> Any:
    """Content of a `torch.save` file, limited to tensors, numbers, text and containers of them, on the CPU.

    Args:
        path: the file.
        names: other names that it may ask for, with what each stands for; text stands for something that is not called.

    Raises:
        InputError: the file is missing or broken, or asks for anything else.
    """
    _check_file(path)
    dtypes = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    safe: list[Any] = [np.dtype, *dtypes, *((_SCALAR, f"{module}.scalar") for module in _NUMPY)]
    safe += [(stands_for, name) for name, stands_for in (names or {}).items()]
    try:
        if _is_new_pickle(path):
            return _read_new_pickle(path, names or {})
        with torch.serialization.safe_globals(safe), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(f"Cannot read {path} as tensors ({_reason(error)}); use the published file.") from error


def read_kmeans(path: PathLike) -> Tensor:
    """Centroids [V, D] of a scikit-learn k-means that joblib stored, not compressed; float32.

    Raises:
        InputError: the file is missing or broken, asks for anything but k-means and numpy arrays, has no centroids, or
            some that are not numbers.
    """
    _check_file(path)
    try:
        # Arrays stand between the pickle's parts, so the stream must not be read ahead: no buffer.
        with open(path, "rb", buffering=0) as stream:
            loaded = _Reader(stream, _kmeans_names(stream)).load()
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(
            f"Cannot read {path} as a k-means of joblib ({_reason(error)}); use the published file."
        ) from error
    centroids = getattr(getattr(loaded, "cluster_centers_", None), "array", None)
    if not isinstance(loaded, _KMeans) or centroids is None or centroids.ndim != 2:
        raise InputError(f"{path} holds no fitted k-means (it has no cluster_centers_); use the published file.")
    found = torch.from_numpy(centroids.astype(np.float32))
    refuse_non_finite({"cluster_centers_": found}, path)
    return found


class _Reader(pickle.Unpickler):
    """Knows the names in `known` and nothing else; `storages` resolves the tensors' data."""

    def __init__(self, stream: Any, known: Mapping[tuple[str, str], Any], storages: Any = None) -> None:
        super().__init__(stream)
        self._known, self._storages = known, storages

    def find_class(self, module: str, name: str) -> Any:
        """The object of a name; UnpicklingError when it is not allowed."""
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """The data of a tensor."""
        if self._storages is None:
            raise pickle.UnpicklingError("it asks for a persistent object, which is refused")
        return self._storages(pid)


# --- k-means ---


class _KMeans:
    """Holds the attributes of a fitted k-means, and does nothing."""


def _numpy_names() -> dict[tuple[str, str], Any]:
    known: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    for module in _NUMPY:
        known |= {(module, "_reconstruct"): _RECONSTRUCT, (module, "scalar"): _SCALAR}
    return known


def _kmeans_names(stream: BinaryIO) -> dict[tuple[str, str], Any]:
    class Array:
        """joblib's stand-in for an array whose bytes follow it in the file."""

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.array = _read_array(stream, state)

    known = _numpy_names() | {(module, name): _KMeans for module in _KMEANS for name in ("KMeans", "MiniBatchKMeans")}
    return known | {("joblib.numpy_pickle", "NumpyArrayWrapper"): Array}


def _read_array(stream: BinaryIO, state: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(state["dtype"]), tuple(int(size) for size in state["shape"])
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array holds objects, which is refused")
    if state.get("numpy_array_alignment_bytes") is not None:
        stream.read(stream.read(1)[0])
    wanted = math.prod(shape) * dtype.itemsize
    parts: list[bytes] = []
    while (left := wanted - sum(map(len, parts))) > 0:
        parts.append(stream.read(min(left, 1 << 24)))
        if not parts[-1]:
            raise EOFError("it ends inside an array")
    values = np.frombuffer(b"".join(parts), dtype=dtype)
    return values.reshape(shape, order="F" if state.get("order") == "F" else "C")


# --- tensors in a pickle newer than torch.load(weights_only=True) reads ---


def _is_new_pickle(path: PathLike) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive, archive.open(_program(archive)) as program:
        head = program.read(2)
    return head[:1] == b"\x80" and head[1] > 2


def _program(archive: zipfile.ZipFile) -> str:
    return next(name for name in archive.namelist() if name.endswith("/data.pkl"))


def _read_new_pickle(path: PathLike, names: Mapping[str, Any]) -> Any:
    known: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, hooks: data,
    }
    known |= {("torch", name): dtype for name, dtype in _STORAGES.items()}
    known |= {(name.rpartition(".")[0], name.rpartition(".")[2]): stands_for for name, stands_for in names.items()}
    with zipfile.ZipFile(path) as archive:
        program = _program(archive)

        def storage(pid: tuple[Any, ...]) -> Tensor:
            _, dtype, key, *_ = pid
            content = archive.read(f"{program.removesuffix('data.pkl')}data/{key}")
            return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.zeros(0, dtype=dtype)

        with archive.open(program) as stream:
            return _Reader(stream, known | _numpy_names(), storage).load()


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()


def _check_file(path: PathLike) -> None:
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}; check the name and the folder.")


def _reason(error: Exception) -> str:
    """One clause of an error; torch wraps its own in advice that would run the file."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    asked = re.search(r"GLOBAL ([\w.]+)", text)
    text = (text.partition("WeightsUnpickler error: ")[2] or text).partition(" Check the documentation of torch")[0]
    return f"it asks for {asked[1]}, which is refused" if asked else f"{type(error).__name__}: {text[:200]}"
