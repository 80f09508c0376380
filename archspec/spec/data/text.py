"""Text in files of several formats, made into tokens when a run begins."""

from __future__ import annotations

import pathlib
from typing import Annotated, ClassVar, Self

from pydantic import Field

from archspec.spec.data.base import BYTES
from archspec.spec.data.files import FilesSource, PathsField, absolute

PYDOC = "pydoc"


class TextualSource(FilesSource):
    """Documents of text, and what makes tokens of them."""

    tokenizer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="A `tokenizer.json` of HuggingFace's tokenizers (extra `tokenizers`); by "
            "default tokens are the bytes of the text in UTF-8.",
        ),
    ] = None
    eos_token: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Token of the tokenizer that ends a document; by default a usual one "
            "that it has, such as `<|endoftext|>`.",
        ),
    ] = None

    @property
    def unit(self) -> str:
        """What a target is."""
        return "byte" if self.tokenizer is None else "token"

    @property
    def codec(self) -> str:
        """What text is made into token ids by: a tokenizer file or bytes."""
        return self.tokenizer or BYTES

    def located(self, folder: pathlib.Path) -> Self:
        """Return the source with its paths absolute, read from ``folder``."""
        source = super().located(folder)
        if self.tokenizer is None:
            return source
        return source.model_copy(update={"tokenizer": absolute(self.tokenizer, folder)})


class TextSource(TextualSource):
    """Text files, each of which is one document."""

    KEY: ClassVar[str] = "text"

    text: Annotated[
        PathsField,
        Field(
            description="`pydoc` (the Python documentation's topics), or UTF-8 files: a path, a "
            "pattern, or a list of either."
        ),
    ]

    def located(self, folder: pathlib.Path) -> Self:
        """Return the source with its paths absolute, read from ``folder``."""
        source = super().located(folder)
        return source.model_copy(update={"text": PYDOC}) if self.text == PYDOC else source


class JsonlSource(TextualSource):
    """JSON lines: a map on every line, a document in one of its fields."""

    KEY: ClassVar[str] = "jsonl"

    jsonl: Annotated[
        PathsField,
        Field(description="Files: a path, a pattern, or a list of either."),
    ]
    field: Annotated[str, Field(min_length=1, description="Key of the text in every map.")] = "text"


class ParquetSource(TextualSource):
    """Parquet files (extra `data`): a document in every row of a column."""

    KEY: ClassVar[str] = "parquet"

    parquet: Annotated[
        PathsField,
        Field(description="Files: a path, a pattern, or a list of either."),
    ]
    field: Annotated[str, Field(min_length=1, description="Column of the text.")] = "text"


class HfSource(TextualSource):
    """A dataset of HuggingFace's datasets (extra `data`): a document in every example."""

    KEY: ClassVar[str] = "hf"

    hf: Annotated[
        str,
        Field(
            min_length=1,
            description="A folder that `save_to_disk` wrote, or the name of a dataset on the hub.",
        ),
    ]
    subset: Annotated[str | None, Field(description="Configuration of a dataset on the hub.")] = (
        None
    )
    split: Annotated[str, Field(min_length=1, description="Which part of it.")] = "train"
    field: Annotated[str, Field(min_length=1, description="Column of the text.")] = "text"
    evaluation: Annotated[
        str | None,
        Field(description="Split to measure on instead of a held-out share."),
    ] = None

    def located(self, folder: pathlib.Path) -> Self:
        """Return the source with its paths absolute; what is no folder there is a name."""
        source = super().located(folder).model_copy(update={"evaluation": self.evaluation})
        if (folder / pathlib.Path(self.hf).expanduser()).is_dir():
            return source
        return source.model_copy(update={"hf": self.hf})
