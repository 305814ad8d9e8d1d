"""An edit of a take, as projects and settings files keep it; `accompany.generation.edits` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accompany.errors import InputError
from accompany.generation.settings import Settings


@dataclass(frozen=True)
class Edit:
    """An edit of a generated take, in a form that can be repeated.

    Attributes:
        kind: "retake", "vary" or "extend".
        arguments: numbers that this method of `Band` takes, by name.
        settings: of what was made.
    """

    kind: str
    arguments: Mapping[str, float]
    settings: Settings

    def as_dict(self) -> dict[str, Any]:
        """The edit, ready for JSON."""
        return {"kind": self.kind, "arguments": dict(self.arguments), "settings": self.settings.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Edit:
        """The inverse of `as_dict`, by way of JSON. KeyError, TypeError, ValueError or InputError for what is none."""
        try:
            numbers = {str(name): float(value) for name, value in values["arguments"].items()}
            return cls(str(values["kind"]), numbers, Settings.from_dict(values["settings"]))
        except (AttributeError, OverflowError) as error:
            raise InputError(f"The edit cannot be read ({error}); give what accompany wrote.") from error
