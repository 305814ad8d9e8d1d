"""Upload of a bundle to the hub: its own files, a model card and sound examples, in one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from accompany.common.hub import Upload, check_upload, create, upload
from accompany.common.weights import PathLike
from accompany.models.card import EXAMPLES_DIR, CardFacts, model_card
from accompany.models.pretrained import BUNDLE_NAME, Bundle, read_bundle
from accompany.models.writing import save_bundle

if TYPE_CHECKING:
    from accompany.models.llambada import LlambadaBundle

_NO_FACTS = CardFacts()


def push_to_hub(folder: PathLike, repo_id: str, *, private: bool = False, facts: CardFacts = _NO_FACTS) -> str:
    """Upload a bundle to the hub as `owner/name`; returns its address. Needs a token (`HF_TOKEN`, or a login).

    Of the folder only `bundle.json` and the parts that it names go there. What can be refused is refused before
    anything is uploaded, and the upload is one commit: all of it or nothing.

    Raises:
        InputError: no bundle there, no such name, no token, refused by the hub, or no network.
    """
    info = read_bundle(folder)
    check_upload(repo_id)
    files: list[Upload] = list(_own_files(Path(folder), [part.source for part in info.parts]))
    files += [(f"{EXAMPLES_DIR}/{path.name}", path) for path in facts.examples]
    model_card(info, repo_id, "", facts)  # what is wrong with it is said before there is a model on the hub
    address = create(repo_id, private=private)
    files.append(("README.md", model_card(info, repo_id, address, facts).encode("utf-8", "replace")))
    upload(files, repo_id)
    return address


def push_loaded(bundle: Bundle | LlambadaBundle, repo_id: str, private: bool) -> str:
    """As `push_to_hub`, for a bundle in memory, with the adapters that it has taken on."""
    if not bundle.adapted:
        return push_to_hub(bundle.path, repo_id, private=private)
    with tempfile.TemporaryDirectory() as scratch:  # the folder it was loaded from lacks the adapters
        return push_to_hub(save_bundle(bundle, Path(scratch) / "model"), repo_id, private=private)


def _own_files(folder: Path, sources: list[Path | str]) -> Iterator[Upload]:
    """The files of a bundle by their place in it; hidden and half-written ones are left out."""
    yield BUNDLE_NAME, folder / BUNDLE_NAME
    for source in sources:
        for path in sorted(Path(source).rglob("*")) if isinstance(source, Path) else ():
            place = path.relative_to(folder)
            if path.is_file() and path.suffix != ".part" and not any(name.startswith(".") for name in place.parts):
                yield place.as_posix(), path
