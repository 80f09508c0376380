"""The kinds of document, as one literal table."""

from __future__ import annotations

from collections.abc import Mapping

from archspec.schema import Schema
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelDocument
from archspec.spec.plan import PlanSpec
from archspec.spec.search.document import SearchDocument
from archspec.spec.train import TrainSpec

DOCUMENTS: Mapping[str, type[Schema]] = {
    "model": ModelDocument,
    "plan": PlanSpec,
    "train": TrainSpec,
    "search": SearchDocument,
    "hardware": HardwareSpec,
}
