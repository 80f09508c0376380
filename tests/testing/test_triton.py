from pathlib import Path

import pytest

from archspec.testing.triton import CAPABILITIES, compile_offline, run_interpreted

triton = pytest.importorskip("triton", reason="Triton is built for Linux only")
tl = triton.language


@triton.jit
def double_rows(rows, result, WIDTH: tl.constexpr):
    columns = tl.program_id(0).to(tl.int64) * WIDTH + tl.arange(0, WIDTH)
    tl.store(result + columns, 2 * tl.load(rows + columns))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_kernel_is_compiled_and_read_without_a_gpu(capability: int) -> None:
    compiled = compile_offline(
        double_rows,
        capability=capability,
        arguments={"rows": "*fp32", "result": "*fp32"},
        constexprs={"WIDTH": 1024},
        num_warps=4,
    )
    assert compiled.count("LDG.E.128") == 2  # 1,024 fp32 over 128 threads, 4 at a time
    assert compiled.num_spills == compiled.stack_bytes == 0
    assert 0 < compiled.registers < 64
    assert 10 < compiled.num_instructions < 100


def test_an_interpreted_run_sees_the_interpreter(tmp_path: Path) -> None:
    file = tmp_path / "check.py"
    file.write_text(
        "import os\n"
        "def test_it(): assert os.environ['TRITON_INTERPRET'] == '1'\n"
        "def test_not(): assert os.environ['ARCHSPEC_KERNELS'] != 'triton'\n"
    )
    result = run_interpreted(file)
    assert result.returncode == 1
    assert "1 failed, 1 passed" in result.stdout
