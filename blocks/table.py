"""What tables of rows have in common, whatever reads them."""

from __future__ import annotations

from archspec.blocks.part import Part


class Table(Part):
    """A part whose own parameters are rows of which a token reads few.

    Who trains finds them by this class: they have an optimizer and settings of their own.
    """
