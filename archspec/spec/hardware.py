"""The hardware document: what a device can do at most, and who says so."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from archspec.blocks.base import Fault
from archspec.errors import ArchspecError, suggest
from archspec.schema import PositiveInt, Schema
from archspec.units import BYTE_UNITS, parse_amount

FOLDER = pathlib.Path(__file__).parents[1] / "specs" / "hardware"

_FLOP_UNITS = {"FLOP": 1, "GFLOP": 10**9, "TFLOP": 10**12, "PFLOP": 10**15}


def _amount(units: Mapping[str, int], example: str) -> PlainValidator:
    """Accept a positive number, or text with a unit; ``/s`` belongs to the unit of a rate."""
    per_second = "/s" if example.endswith("/s") else ""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"must be a number or text with a unit, such as {example!r}")
        if isinstance(value, str):
            if not value.rstrip().endswith(per_second):
                raise ValueError(f"must end in '/s', such as {example!r}, but is {value!r}")
            try:
                number = float(parse_amount(value.rstrip().removesuffix(per_second), dict(units)))
            except ValueError as error:
                raise ValueError(f"{error}; write it like {example!r}") from None
        else:
            number = float(value)
        if not 0 < number < float("inf"):
            raise ValueError(f"must be a finite number greater than 0, but is {value}")
        return number

    return PlainValidator(parse)


def _in_json(example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}],
            "examples": [example],
        }
    )


FlopRate = Annotated[float, _amount(_FLOP_UNITS, "989 TFLOP/s"), _in_json("989 TFLOP/s")]
ByteRate = Annotated[float, _amount(BYTE_UNITS, "3.35 TB/s"), _in_json("3.35 TB/s")]
Bytes = Annotated[float, _amount(BYTE_UNITS, "80 GB"), _in_json("80 GB")]


class PeakFlops(Schema):
    """Peak dense rate of matrix multiplication by element type; never the figure for sparsity."""

    float64: Annotated[FlopRate | None, Field(description="Rate in fp64.")] = None
    float32: Annotated[FlopRate | None, Field(description="Rate in fp32, without TF32.")] = None
    tfloat32: Annotated[FlopRate | None, Field(description="Rate in TF32.")] = None
    bfloat16: Annotated[FlopRate | None, Field(description="Rate in bf16.")] = None
    float16: Annotated[FlopRate | None, Field(description="Rate in fp16.")] = None
    float8: Annotated[FlopRate | None, Field(description="Rate in fp8.")] = None

    @property
    def known(self) -> dict[str, float]:
        """The rates that are given."""
        return {name: rate for name, rate in self.model_dump().items() if rate is not None}


class HardwareSpec(Schema):
    """One device: its peak rates and its memory. What is reached in practice is less."""

    archspec: Annotated[Literal[1], Field(description="Version of the language.")]
    kind: Literal["hardware"]
    name: Annotated[str, Field(description="The device, for people.")]
    source: Annotated[
        str,
        Field(description="Where the figures come from, or how they were measured."),
    ]
    peak_flops: Annotated[PeakFlops, Field(description="Dense FLOP/s by element type.")]
    memory_bandwidth: Annotated[ByteRate, Field(description="Bytes per second of its memory.")]
    memory_bytes: Annotated[Bytes, Field(description="Size of its memory, in bytes.")]
    link_bandwidth: Annotated[
        ByteRate | None,
        Field(description="Bytes per second to its peers in one node, in one direction."),
    ] = None
    network_bandwidth: Annotated[
        ByteRate | None,
        Field(description="Bytes per second to devices of other nodes, in one direction."),
    ] = None
    node_devices: Annotated[
        PositiveInt | None,
        Field(description="Devices of one node, between which links run."),
    ] = None

    def check(self) -> Iterator[Fault]:
        """Yield every rule that the values break together."""
        if not self.source.strip():
            yield Fault(("source",), "must not be empty; say where the figures come from")
        if not self.peak_flops.known:
            names = ", ".join(PeakFlops.model_fields)
            yield Fault(("peak_flops",), f"must give the rate of at least one of {names}")

    def flops(self, dtype: str) -> float:
        """Return the peak rate of an element type. Raises ArchspecError if it is not given."""
        known = self.peak_flops.known
        if dtype not in known:
            raise ArchspecError(
                f"{self.name} gives no peak_flops for {dtype}; {suggest(dtype, known)}"
            )
        return known[dtype]


def bundled_hardware() -> dict[str, pathlib.Path]:
    """Return the devices that come with archspec, by the name they are asked for."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find_hardware(name: str) -> pathlib.Path:
    """Return the document of a device: a bundled one by name, any other by path.

    Raises:
        ArchspecError: If the name is no bundled device; nothing is assumed in its place.
    """
    bundled = bundled_hardware()
    if name in bundled:
        return bundled[name]
    if is_path(name):
        return pathlib.Path(name)
    raise ArchspecError(
        f"unknown device {name!r}; {suggest(name, bundled)}; a path names a document of your own"
    )


def is_path(name: str) -> bool:
    """Tell whether a device is named by the path of its document."""
    path = pathlib.PurePath(name)
    return path.suffix in (".yaml", ".yml") or len(path.parts) > 1
