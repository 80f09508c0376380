"""Triton kernels without a GPU: compiled for one, and run by the interpreter.

What compiling shows (registers, spills, width of loads, number of instructions) needs no device:
the wheel of Triton brings the assembler and the disassembler. The interpreter must be chosen before
Triton is imported, so its tests run in a pytest process of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPABILITIES = (80, 90, 100)


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What the assembler made of a kernel.

    Args:
        registers: Of one thread.
        stack_bytes: Of one thread; more than 0 means spilled registers.
        shared_bytes: Of one program.
        opcodes: Machine instruction with modifiers, as ``LDG.E.128``, to its number.
    """

    registers: int
    stack_bytes: int
    shared_bytes: int
    opcodes: Counter[str]

    def count(self, *starts: str) -> int:
        """Count the instructions that begin with one of these, as ``LDG`` or ``LDG.E.128``."""
        return sum(n for name, n in self.opcodes.items() if name.startswith(starts))

    @property
    def num_spills(self) -> int:
        """Stores to and loads from a thread's own memory."""
        return self.count("STL", "LDL")

    @property
    def num_instructions(self) -> int:
        """All instructions, loops counted once."""
        return sum(n for name, n in self.opcodes.items() if name != "NOP")


def compile_offline(
    kernel: Any,
    *,
    capability: int,
    arguments: Mapping[str, str],
    constexprs: Mapping[str, Any],
    num_warps: int,
    num_stages: int = 3,
) -> Compiled:
    """Compile a ``@triton.jit`` function for a compute capability, without a driver.

    Args:
        kernel: The function.
        capability: 80 for sm_80 and so on.
        arguments: Name of each run-time argument to its type in Triton's notation: ``*bf16``,
            ``i32``, ``fp32``. Pointers count as aligned to 16 bytes, as torch's allocators align.
        constexprs: Name of each ``tl.constexpr`` argument to its value.
        num_warps: Warps of a program.
        num_stages: Depth of software pipelining.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(kernel.arg_names)
    signature = {name: arguments.get(name, "constexpr") for name in names}
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name, kind in arguments.items()
        if kind.startswith("*")
    }
    source = ASTSource(kernel, signature=signature, constexprs=dict(constexprs), attrs=aligned)
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": num_warps, "num_stages": num_stages},
    )
    usage = dict(
        re.findall(r"(REG|STACK|SHARED):(\d+)", _dump(compiled.asm["cubin"], "-res-usage"))
    )
    return Compiled(
        registers=int(usage["REG"]),
        stack_bytes=int(usage["STACK"]),
        shared_bytes=max(int(usage["SHARED"]), int(compiled.metadata.shared)),
        opcodes=Counter(_opcodes(_dump(compiled.asm["cubin"], "-sass"))),
    )


def run_interpreted(test_file: Path) -> subprocess.CompletedProcess[str]:
    """Run a file of tests where Triton interprets its kernels and ours must be Triton's."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "ARCHSPEC_KERNELS": "triton"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test_file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _dump(cubin: bytes, option: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [str(tool), option, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _opcodes(sass: str) -> list[str]:
    """Find the opcode in lines such as ``/*0290*/  @!P0 LDG.E.128 R4, desc[UR16][R4.64] ;``."""
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*)", sass)
