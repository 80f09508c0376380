"""What this machine has for the kernels, and which implementation of each op runs on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import torch

from archspec.errors import KernelError
from archspec.kernels import dispatch
from archspec.kernels.linear import prefers_onednn

DTYPES = (torch.float32, torch.bfloat16)
WIDTH = 1024  # elements of a row that the choice is explained for


@dataclass(frozen=True, kw_only=True)
class OpReport:
    """What runs for one op, on one type of device, for one dtype.

    Args:
        op: Name below ``torch.ops.archspec``.
        device: Type of device, as ``cuda``.
        dtype: As ``float32``.
        runs: Word of the implementation; None where a demand cannot be met.
        why: Why it runs, or why nothing does.
        passed_over: Words of better implementations to why they do not run.
    """

    op: str
    device: str
    dtype: str
    runs: str | None
    why: str
    passed_over: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that decides which kernels run.

    Args:
        versions: Name to version, None for what is missing: ``cuda`` is what torch was built for,
            ``cuda_driver`` what the driver supports.
        devices: Device, as ``cuda:0``, to what it is.
        cpu_threads: That torch uses.
        variable: Name of the environment variable that demands implementations.
        demand: Its value; ``auto`` where it is not set.
        ops: For each op, device and dtype.
    """

    versions: Mapping[str, str | None]
    devices: Mapping[str, str]
    cpu_threads: int
    variable: str
    demand: str
    ops: tuple[OpReport, ...]


def diagnose() -> Diagnosis:
    """Look at the machine, and explain the choice for every op. Runs no kernel."""
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    reports = (
        _report(op, device, dtype)
        for op in dispatch.IMPLEMENTATIONS
        for device in kinds
        for dtype in DTYPES
    )
    return Diagnosis(
        versions=_versions(),
        devices=_devices(),
        cpu_threads=torch.get_num_threads(),
        variable=dispatch.VARIABLE,
        demand=os.environ.get(dispatch.VARIABLE, "auto"),
        ops=tuple(reports),
    )


def _report(op: str, device: str, dtype: torch.dtype) -> OpReport:
    name = str(dtype).removeprefix("torch.")
    try:
        choice = dispatch.explain(op, dispatch.Call(device=device, dtype=dtype, width=WIDTH))
    except KernelError as error:
        return OpReport(op=op, device=device, dtype=name, runs=None, why=str(error), passed_over={})
    words = [built.word for built in dispatch.IMPLEMENTATIONS[op]]
    better = words[: words.index(choice.implementation.word)]
    return OpReport(
        op=op,
        device=device,
        dtype=name,
        runs=choice.implementation.word,
        why=choice.reason,
        passed_over={word: why for word, why in choice.passed_over.items() if word in better},
    )


def _versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "triton": _version("triton"),
        "numba": _version("numba"),
        "cuda": torch.version.cuda,
        "cuda_driver": _driver(),
    }


def _version(package: str) -> str | None:
    return metadata.version(package) if find_spec(package) is not None else None


def _driver() -> str | None:
    """Return the newest CUDA that the driver supports, as 12.8."""
    if not torch.cuda.is_available():
        return None
    native: Any = torch._C
    number: int = native._cuda_getDriverVersion()
    return f"{number // 1000}.{number % 1000 // 10}"


def _devices() -> dict[str, str]:
    by_onednn = ", fp32 matmuls by oneDNN" if prefers_onednn() else ""
    found = {"cpu": f"{platform.machine()}, {os.cpu_count()} logical CPUs{by_onednn}"}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        memory = f"{card.total_memory / 1e9:.1f} GB"
        found[f"cuda:{index}"] = f"{card.name}, sm_{card.major}{card.minor}, {memory}"
    return found
