"""Hugging Face hub transfers of model folders, with one-sentence errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from accompany.errors import InputError

Upload = tuple[str, Path | bytes]
"""Place of a file in a model, and the file itself or its content."""

_FILES = ["*.json", "*.yaml", "*.txt", "*.md", "*.model", "*.safetensors"]


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


def check_upload(repo_id: str) -> None:
    """InputError for an id that no model can have, or where the hub would not know who uploads."""
    from huggingface_hub import get_token

    if not is_hub_id(repo_id):
        raise InputError(f"'{repo_id}' is no name on the hub; give owner/name, in letters, digits, '-', '_' and '.'.")
    if not get_token():
        raise InputError("An upload needs your token of the hub; set HF_TOKEN, or log in with `hf auth login`.")


def create(repo_id: str, *, private: bool) -> str:
    """Make an empty model on the hub, where there is none of that name yet; returns its address.

    Raises:
        InputError: a name that the hub refuses, not logged in, or no network.
    """
    from huggingface_hub import HfApi

    with _refusals(repo_id):
        return str(HfApi().create_repo(repo_id, private=private or None, exist_ok=True))


def upload(files: Sequence[Upload], repo_id: str) -> None:
    """Put files, by their place in the model, on the hub in one commit. InputError as in `create`."""
    from huggingface_hub import CommitOperationAdd, HfApi

    with _refusals(repo_id):
        additions = [CommitOperationAdd(place, content) for place, content in files]
        HfApi().create_commit(repo_id, additions, commit_message="Upload by accompany")


@contextmanager
def _refusals(repo_id: str) -> Iterator[None]:
    """Errors of the hub's client as one sentence."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HFValidationError, errors.HfHubHTTPError) as error:
        raise InputError(
            f"The hub refused '{repo_id}' ({_first_line(error)}); check the name (owner/name) and your token."
        ) from error
    except (errors.HTTPError, OSError) as error:
        raise InputError(
            f"Cannot reach the hub to upload '{repo_id}'; connect to the network and try again."
        ) from error
    except (ValueError, RuntimeError) as error:  # of the card's fields, or of one file's upload
        raise InputError(f"The upload to '{repo_id}' failed ({_first_line(error)}); try again.") from error


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
