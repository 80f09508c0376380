"""Text files, read as bytes."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from archspec.spec.data.base import SourceConfig

PYDOC = "pydoc"


class TextSource(SourceConfig):
    """Text, read as bytes; the end of it is held out for evaluation."""

    text: Annotated[
        str,
        Field(description="`pydoc` (the Python documentation's topics) or a path to a text file."),
    ]
    held_out: Annotated[
        float,
        Field(gt=0, lt=1, description="Share at the end that is never trained on."),
    ] = 0.05

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""
        return ("nll",)

    @classmethod
    def default_name(cls, values: Mapping[str, Any]) -> object:
        """Return the name of the file without its suffix."""
        text = values.get("text")
        return pathlib.PurePath(text).stem if isinstance(text, str) else None

    def located(self, folder: pathlib.Path) -> TextSource:
        """Return the source with its path absolute, read from ``folder``."""
        if self.text == PYDOC:
            return self
        return self.model_copy(update={"text": str((folder / self.text).absolute())})
