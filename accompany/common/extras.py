"""Optional packages: looked for before the work that needs them, one sentence with the line that installs them."""

from __future__ import annotations

import importlib.util
import sys

from accompany.errors import InputError


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported here."""
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def require(extra: str, *packages: str, what: str = "This") -> None:
    """Refuse work whose packages are missing.

    Args:
        extra: of accompany, which brings the packages.
        packages: names that are imported.
        what: needs them, such as "--midi"; the subject of the sentence.

    Raises:
        InputError: the first package that is missing, and the line that installs it.
    """
    for package in packages:
        if not is_installed(package):
            raise missing(package, extra, what)


def missing(package: str, extra: str, what: str = "This") -> InputError:
    """The error for a package that is missing; arguments as in `require`."""
    return InputError(f'{what} needs the package {package}, which is not installed: pip install "accompany[{extra}]"')
