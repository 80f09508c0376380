"""Designs as short strings: one letter per layer, and a legend."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable

from archspec.search.space import Design, Space

_SPACED = 12  # up to so many layers, letters stand apart; longer rows come in groups of four


class Drawing:
    """Letters for the choices of a space, and designs written with them.

    >>> drawing.placement(design), drawing.legend  # doctest: +SKIP
    ('F F S F P F', 'F ffn, E experts, P private, S shared')
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        labels = (labels for part in space.parts for labels in part.labels)
        self._letters = _letters(dict.fromkeys(itertools.chain(*labels)))

    @property
    def legend(self) -> str:
        """What each letter stands for."""
        return ", ".join(f"{letter} {label}" for label, letter in self._letters.items())

    def labels(self, design: Design) -> list[str]:
        """Name what stands in every layer, tied ones each."""
        part = self._space.parts[design.variant]
        genes = part.gene_of.tolist()
        return [part.labels[gene][design.layers[gene]] for gene in genes]

    def placement(self, design: Design) -> str:
        """Write the layers of a design, first to last."""
        letters = [self._letters[label] for label in self.labels(design)]
        if len(letters) <= _SPACED:
            return " ".join(letters)
        text = "".join(letters)
        return " ".join(text[start : start + 4] for start in range(0, len(text), 4))

    def pools(self, design: Design) -> str:
        """Write sizes of the pools that are read and settings, ``big 64², d_model=128``."""
        read = self._space.model(design).pools
        pools = [f"{name} {pool.num_keys}²" for name, pool in sorted(read.items())]
        settings = self._space.variants[design.variant].describe()
        return ", ".join([*pools, *filter(None, [settings])])

    def words(self, design: Design) -> str:
        """Write a design in one string that needs no legend."""
        runs = [(label, len(list(run))) for label, run in itertools.groupby(self.labels(design))]
        placed = ", ".join(label if count == 1 else f"{count} x {label}" for label, count in runs)
        pools = self.pools(design)
        return f"[{placed}]" + (f" with {pools}" if pools else "")


def _letters(labels: Iterable[str]) -> dict[str, str]:
    """Give every label a letter: one of its own if free, otherwise any."""
    letters: dict[str, str] = {}
    for label in labels:
        own = [*label.upper(), *label.lower()]
        spare = [*string.ascii_uppercase, *string.ascii_lowercase, *string.digits]
        free = (c for c in (*own, *spare) if c.isascii() and c.isalnum())
        letters[label] = next((c for c in free if c not in letters.values()), label)
    return letters
