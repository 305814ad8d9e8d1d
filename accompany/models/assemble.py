"""Bundle assembly (`accompany bundle`): a model from the folders of its parts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from accompany.common.checks import did_you_mean
from accompany.common.weights import resolve_folder
from accompany.errors import InputError
from accompany.models.parts import OWN_KIND, PARTS, PartInfo, load_part_of
from accompany.models.pretrained import class_of, find_bundle, read_bundle
from accompany.models.writing import write_bundle

PathLike = str | os.PathLike[str]

_DECODER = "vocos"
"""Folder of another decoder, in that of the codec."""


def assemble(
    out_dir: PathLike,
    folders: Mapping[str, PathLike],
    *,
    base: PathLike | None = None,
    name: str | None = None,
    license: str = "Apache-2.0",
    card: PathLike | None = None,
    decoder: PathLike | None = None,
) -> Path:
    """Write a bundle of the parts in `folders`, the rest taken from the model `base`.

    Args:
        out_dir: the model's folder; a bundle that is there is replaced.
        folders: part (`mert`, `clap`, `codec`, `semantic_codes`, `listener`, `semantic`, `acoustic`) to its folder.
            Without stages the bundle can tokenize, but not generate.
        base: bundled name, folder or hub id of a model.
        name: default: the name of `out_dir`.
        license: of the parts in `folders`; those of `base` keep theirs, and so does the whole when `base` is given.
        card: a model card in Markdown.
        decoder: folder or hub id of a Vocos that decodes in EnCodec's place; both are copied into the bundle.

    Raises:
        InputError: an unknown part, a folder that holds no such part, no part at all, a decoder that does not fit the
            codec, or no place to write.
    """
    parts: dict[str, PartInfo] = {}
    whole, kind = license, OWN_KIND
    if base is not None:
        info = read_bundle(find_bundle(base))
        parts = {part.name: part for part in info.parts}
        whole, kind = info.license, info.kind
    for part, folder in folders.items():
        parts[part] = _checked(part, folder, class_of(kind).PARTS, license)
    if not parts:
        raise InputError(f"A model needs parts; give some as part=DIR (parts: {', '.join(PARTS)}), or --from a model.")
    if card is not None:
        _check_card(Path(card))
    with tempfile.TemporaryDirectory() as scratch:
        if decoder is not None:
            parts["codec"] = _decoded_by(decoder, parts, Path(scratch) / "codec")
        return write_bundle(out_dir, name=name or Path(out_dir).name, license=whole, parts=parts, card=card, kind=kind)


def read_parts(words: Sequence[str]) -> dict[str, str]:
    """The folders of `part=DIR` words by part. InputError for another form, or a part that is named twice."""
    found: dict[str, str] = {}
    for word in words:
        part, equals, folder = word.partition("=")
        if not equals or not part or not folder:
            raise InputError(f"'{word}' is no part; write part=DIR, for example semantic=runs/semantic/model.")
        if part in found:
            raise InputError(f"The part '{part}' is given twice; leave one out.")
        found[part] = os.path.expanduser(folder)
    return found


def _decoded_by(decoder: PathLike, parts: Mapping[str, PartInfo], folder: Path) -> PartInfo:
    """The codec with another decoder, both copied into `folder`."""
    if "codec" not in parts:
        raise InputError("A decoder needs a codec; give one as codec=DIR, or --from a model.")
    codec = parts["codec"]
    shutil.copytree(resolve_folder(codec.source), folder)
    shutil.copytree(resolve_folder(decoder), folder / _DECODER, dirs_exist_ok=True)
    info = replace(codec, source=folder, options={**codec.options, "decoder": _DECODER})
    load_part_of(info, "cpu")
    return info


def _check_card(card: Path) -> None:
    """InputError for a model card that is no text."""
    if not card.is_file():
        raise InputError(f"There is no model card '{card}'; name a Markdown file.")
    try:
        card.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The model card '{card}' cannot be read as text ({error}); name a Markdown file.") from error


def _checked(part: str, folder: PathLike, known: tuple[str, ...], license: str) -> PartInfo:
    if part not in known:
        hint = did_you_mean(part, known) or f" (parts: {', '.join(known)})."
        raise InputError(f"There is no part '{part}'{hint}")
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise InputError(f"{part}={folder} is no folder of a trained part (it has no config.json).")
    info = PartInfo(part, path, license)
    try:
        load_part_of(info, "cpu")  # a part of another kind, or a broken one, would only be found by who uses the model
    except InputError as error:
        raise InputError(f"{part}={folder} is no part of this kind: {error}") from error
    return info
