"""What the bundled models are: names, licences and sizes."""

from __future__ import annotations

from typing import Any

from accompany.common.config import CHECKPOINTS_DIR
from accompany.models.parts import BundleInfo
from accompany.models.pretrained import find_bundle, list_bundles, read_bundle


def describe_models() -> list[dict[str, Any]]:
    """Bundled models: name, licence, bytes, and for each part its licence, bytes and rates."""
    return [*(_describe(read_bundle(find_bundle(name))) for name in list_bundles()), *_describe_separator()]


def _describe_separator() -> list[dict[str, Any]]:
    """The separator of `accompany prepare`, where it is there: no model that plays, so no bundle of its own."""
    files = sorted((CHECKPOINTS_DIR / "separator").glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    part = {"name": "htdemucs", "license": "Apache-2.0", "bytes": size, "rates": ("24000 Hz",)}
    name = "separator (accompany prepare --separator tiny)"
    return [{"name": name, "license": "Apache-2.0", "bytes": size, "parts": [part]}] if files else []


def _describe(info: BundleInfo) -> dict[str, Any]:
    names = ("name", "license", "bytes", "rates")
    parts = [{name: getattr(part, name) for name in names} for part in info.parts]
    return {"name": info.name, "license": info.license, "bytes": info.bytes, "parts": parts}
