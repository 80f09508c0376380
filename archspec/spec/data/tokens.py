"""Files of token ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count
from archspec.spec.data.files import FilesSource, PathsField


class TokensSource(FilesSource):
    """Token ids in files that are mapped into memory, as `archspec tokenize` writes them."""

    KEY: ClassVar[str] = "tokens"

    tokens: Annotated[
        PathsField,
        Field(
            description="Raw little-endian ids (any suffix) or one-dimensional `.npy` arrays: a "
            "path, a pattern, or a list of either, laid one after another."
        ),
    ]
    dtype: Annotated[
        Literal["uint16", "uint32"] | None,
        Field(description="Of raw files; by default what the `FILE.json` beside the file says."),
    ] = None
    eos_id: Annotated[
        Count | None,
        Field(
            description="Token that ends a document; by default what the `FILE.json` beside the "
            "file says."
        ),
    ] = None
    index_suffix: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Documents end where FILE + suffix says, a `.npy` array of ascending "
            "integers: the number of tokens up to the end of each document.",
        ),
    ] = None

    @property
    def unit(self) -> str:
        """What a target is."""
        return "token"

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        yield from super().check(seq_len)
        if self.eos_id is not None and self.index_suffix is not None:
            yield Fault(
                ("index_suffix",),
                f"is given beside eos_id={self.eos_id}, but documents end by one rule; leave one "
                "of them out",
            )
