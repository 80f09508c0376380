"""Devices as a table, one device in full, and a device as a YAML document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from archspec.report.tables import plain_table
from archspec.spec.hardware import HardwareSpec
from archspec.units import format_decimal

_SHOWN = ("float8", "bfloat16", "float32")


def devices_table(devices: Mapping[str, HardwareSpec]) -> Group:
    """Return one row per device."""
    table: Table = plain_table("device", "name", *_SHOWN, "memory", "bandwidth")
    for column in table.columns[2:]:
        column.justify = "right"
    for key, device in devices.items():
        known = device.peak_flops.known
        rates = (format_decimal(known[name], "") if name in known else "" for name in _SHOWN)
        table.add_row(
            key,
            device.name,
            *rates,
            _bytes(device.memory_bytes),
            f"{_bytes(device.memory_bandwidth)}/s",
        )
    return Group(
        table, Text("Dense peak FLOP/s by element type; `archspec hardware DEVICE` shows all.")
    )


def device_view(device: HardwareSpec) -> Group:
    """Return everything a device's document says, and its ridge."""
    table = plain_table("", "")
    table.show_header = False
    for key, value in _facts(device):
        table.add_row(key, value)
    return Group(Text(device.name, style="bold"), table, Text(f"source: {device.source}"))


def _facts(device: HardwareSpec) -> Iterator[tuple[str, str]]:
    for name, rate in device.peak_flops.known.items():
        ridge = rate / device.memory_bandwidth
        yield f"peak {name}", f"{_flops(rate)}, {ridge:.0f} FLOPs per byte to be compute-bound"
    yield "memory", _bytes(device.memory_bytes)
    yield "memory bandwidth", f"{_bytes(device.memory_bandwidth)}/s"
    if device.link_bandwidth is not None:
        yield "link bandwidth", f"{_bytes(device.link_bandwidth)}/s in one direction"
    if device.network_bandwidth is not None:
        yield "network bandwidth", f"{_bytes(device.network_bandwidth)}/s in one direction"
    if device.node_devices is not None:
        yield "devices of a node", f"{device.node_devices}"


def hardware_yaml(device: HardwareSpec) -> str:
    """Write a device as a document that loads to the same value."""
    lines = [
        "archspec: 1",
        "kind: hardware",
        f"name: {_quoted(device.name)}",
        f"source: {_quoted(device.source)}",
        "peak_flops:",
        *(f"  {name}: {rate:.6g}" for name, rate in device.peak_flops.known.items()),
        f"memory_bandwidth: {device.memory_bandwidth:.6g}",
        f"memory_bytes: {device.memory_bytes:.0f}",
    ]
    if device.link_bandwidth is not None:
        lines.append(f"link_bandwidth: {device.link_bandwidth:.6g}")
    if device.network_bandwidth is not None:
        lines.append(f"network_bandwidth: {device.network_bandwidth:.6g}")
    if device.node_devices is not None:
        lines.append(f"node_devices: {device.node_devices}")
    return "\n".join(lines) + "\n"


def _flops(rate: float) -> str:
    return format_decimal(rate, "FLOP/s")


def _bytes(size: float) -> str:
    return format_decimal(size, "B")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
