"""What every source of files says: how documents lie in rows, and what is held out."""

from __future__ import annotations

import pathlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag

from archspec.blocks.base import Fault
from archspec.spec.data.base import SourceConfig

HELD_OUT = 0.05  # unless the document says otherwise


def _paths_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "<path>"
    return "<paths>" if isinstance(value, list) else None


Paths = str | list[str]
PathsField = Annotated[
    Annotated[str, Field(min_length=1), Tag("<path>")]
    | Annotated[list[str], Field(min_length=1), Tag("<paths>")],
    Discriminator(
        _paths_tag,
        custom_error_type="paths",
        custom_error_message="must be a path or a list of paths; each may be a pattern such as "
        "part-*.bin",
    ),
]


class FilesSource(SourceConfig):
    """Documents read from files. Every target is trained on once an epoch, in a drawn order."""

    KEY: ClassVar[str]  # the field that says where the data are

    packing: Annotated[
        Literal["documents", "stream"],
        Field(
            description="Rows are cut from documents laid end to end. With `documents` a token "
            "sees its own document only, and no target is across a boundary; `stream` has no "
            "boundaries."
        ),
    ] = "documents"
    held_out: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Share at the end that is never trained on but measured; default "
            f"{HELD_OUT}, or none where `evaluation` is given.",
        ),
    ] = None
    evaluation: Annotated[
        PathsField | None,
        Field(description="Files of the same kind to measure on instead of a held-out share."),
    ] = None

    @property
    @abstractmethod
    def unit(self) -> str:
        """What a target is: a byte or a token."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""
        return ("nll",)

    @property
    def held_out_share(self) -> float:
        """The share at the end that is held out, 0 for none."""
        if self.evaluation is not None:
            return 0.0
        return HELD_OUT if self.held_out is None else self.held_out

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths and patterns of what is trained on."""
        return as_tuple(getattr(self, self.KEY))

    @classmethod
    def default_name(cls, values: Mapping[str, Any]) -> object:
        """Return the name of the first file without its suffix, or of its folder."""
        paths = values.get(cls.KEY)
        first = paths[0] if isinstance(paths, list) and paths else paths
        if not isinstance(first, str):
            return None
        path = pathlib.PurePath(first)
        stem = re.sub(r"\[.*?\]|[*?]", "", path.stem).strip("-_.")
        return stem or path.parent.name or cls.KEY

    def located(self, folder: pathlib.Path) -> Self:
        """Return the source with its paths absolute, read from ``folder``."""
        changes = {
            key: absolute(getattr(self, key), folder)
            for key in (self.KEY, "evaluation")
            if getattr(self, key) is not None
        }
        return self.model_copy(update=changes)

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        if self.held_out is not None and self.evaluation is not None:
            yield Fault(
                ("held_out",),
                f"is held_out={self.held_out} beside `evaluation`, but one set is measured on; "
                "leave one of them out",
            )


def as_tuple(paths: Paths) -> tuple[str, ...]:
    """Return one path or several as several."""
    return (paths,) if isinstance(paths, str) else tuple(paths)


def absolute(paths: Paths, folder: pathlib.Path) -> Paths:
    """Return paths read from ``folder``; patterns stay patterns."""
    if isinstance(paths, str):
        return str((folder / pathlib.Path(paths).expanduser()).absolute())
    return [str((folder / pathlib.Path(path).expanduser()).absolute()) for path in paths]
