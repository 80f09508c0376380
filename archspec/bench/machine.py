"""What was measured on, and how much memory is free."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_QUERIES = (
    "driver_version",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.limit",
    "ecc.mode.current",
)
_SHARE = 0.75  # of what is free: tasks grow while they run, and others run beside them


def machine(device: torch.device) -> dict[str, Any]:
    """Return device, driver, clocks, versions and threads, as JSON values."""
    return {
        **(_gpu(device) if device.type == "cuda" else _cpu()),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "triton": _version("triton"),
            "numba": _version("numba"),
        },
    }


def free_bytes(device: torch.device) -> int:
    """Return the bytes that a task may still take."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        return int(_SHARE * free)
    return int(_SHARE * _available_memory())


def _gpu(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": "cuda",
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "l2_bytes": getattr(properties, "L2_cache_size", None),
        "multiprocessors": properties.multi_processor_count,
        "driver": _nvidia_smi(device),
    }


def _nvidia_smi(device: torch.device) -> dict[str, str]:
    if shutil.which("nvidia-smi") is None:
        return {}
    done = subprocess.run(
        [
            "nvidia-smi",
            f"--id={device.index or 0}",
            f"--query-gpu={','.join(_QUERIES)}",
            "--format=csv,noheader",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return dict(zip(_QUERIES, values, strict=False)) if done.returncode == 0 else {}


def _cpu() -> dict[str, Any]:
    return {
        "device": "cpu",
        "name": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _available_memory() -> int:
    """Read what the kernel thinks it can give; elsewhere than on Linux, half of all there is."""
    file = Path("/proc/meminfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
