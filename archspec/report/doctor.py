"""The table of what runs on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from archspec.report.tables import plain_table

if TYPE_CHECKING:
    from archspec.kernels.doctor import Diagnosis, OpReport


def doctor_view(found: Diagnosis) -> Group:
    """Return versions and devices, then what runs for each op and why."""
    dtypes = " and ".join(dict.fromkeys(report.dtype for report in found.ops))
    note = (
        f"Chosen under {found.variable}={found.demand}, for {dtypes} alike where no dtype is named."
    )
    return Group(_machine(found), Text(""), _ops(found), Text(note))


def _machine(found: Diagnosis) -> Table:
    table = plain_table("", "")
    table.show_header = False
    for name, version in found.versions.items():
        table.add_row(name.replace("_", " "), version or "none")
    for name, device in found.devices.items():
        table.add_row(name, device)
    table.add_row("cpu threads", str(found.cpu_threads))
    return table


def _ops(found: Diagnosis) -> Table:
    table = plain_table("op", "on", "runs", "why")
    for column in table.columns[:3]:
        column.no_wrap = True
    num_dtypes = len({report.dtype for report in found.ops})
    for report, dtypes in _grouped(found.ops):
        named = [] if len(dtypes) == num_dtypes else dtypes
        passed_over = (f"not {word}: {why}" for word, why in report.passed_over.items())
        table.add_row(
            report.op,
            " ".join([report.device, *named]),
            report.runs or "nothing",
            "; ".join([report.why, *passed_over]),
        )
    return table


def _grouped(reports: tuple[OpReport, ...]) -> Iterator[tuple[OpReport, list[str]]]:
    """Put the dtypes of an op and device that go alike into one row."""
    rows: dict[tuple[object, ...], tuple[OpReport, list[str]]] = {}
    for report in reports:
        alike = (report.op, report.device, report.runs, report.why, *report.passed_over.items())
        rows.setdefault(alike, (report, []))[1].append(report.dtype)
    yield from rows.values()
