"""Hugging Face hub transfers of model folders, with one-sentence errors."""

from __future__ import annotations

import re
from pathlib import Path

from accompany.errors import InputError

_FILES = ["*.json", "*.txt", "*.md", "*.model", "*.safetensors"]


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def pull(repo_id: str) -> Path:
    """The folder of a hub model in the local cache, downloaded if need be; pickled weights only where no others are.

    Raises:
        InputError: the hub does not know it, or cannot be reached and the cache lacks it.
    """
    folder = _snapshot(repo_id, _FILES)
    if not any(folder.rglob("*.safetensors")):
        folder = _snapshot(repo_id, [*_FILES, "pytorch_model*.bin"])
    return folder


def pull_text_files(repo_id: str) -> Path:
    """The folder of a hub model in the local cache with its texts only: configs and tokenizer.

    Raises:
        InputError: as `pull`.
    """
    return _snapshot(repo_id, ["*.json", "*.txt"])


def push(folder: Path, repo_id: str, *, private: bool) -> str:
    """Upload a folder as a model; returns its address.

    Raises:
        InputError: a name that the hub refuses, not logged in, or no network.
    """
    from huggingface_hub import HfApi, errors

    try:
        address = HfApi().create_repo(repo_id, private=private, exist_ok=True)
        HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    except (errors.HFValidationError, errors.HfHubHTTPError) as error:
        raise InputError(
            f"The hub refused '{repo_id}' ({_first_line(error)}); check the name (owner/name) and your login."
        ) from error
    except (errors.HTTPError, OSError) as error:
        raise InputError(
            f"Cannot reach the hub to upload '{repo_id}'; connect to the network and log in with `hf auth login`."
        ) from error
    return str(address)


def _snapshot(repo_id: str, patterns: list[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(repo_id, allow_patterns=patterns))
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise InputError(f"The hub has no model '{repo_id}' that you may read; check the name or log in.") from error
    except (errors.HTTPError, OSError) as error:
        raise InputError(
            f"'{repo_id}' is neither a folder here nor in the hub's cache, and the hub cannot be reached; "
            "connect to the network once, or give a folder."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
