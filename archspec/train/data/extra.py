"""Libraries that only some sources of data need."""

from __future__ import annotations

import importlib
from typing import Any

from archspec.errors import DataError


def import_extra(module: str, *, extra: str, what: str) -> Any:
    """Import a library of an extra.

    Args:
        module: Its name.
        extra: The extra of ours that brings it.
        what: What needs it, for the message.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{what} needs the library {module.partition('.')[0]!r}, which cannot be imported "
            f"({error}); install it: pip install 'archspec-lm[{extra}]'"
        ) from None
