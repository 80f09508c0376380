from typing import Any

import numba
import pytest

from archspec.kernels import jit


def add(a: float, b: float) -> float:
    return a + b


def test_a_kernel_compiles_where_no_folder_can_be_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def njit(**settings: Any) -> Any:
        asked.append(settings.get("cache", False))
        if asked[-1]:
            # What numba raises then, at decoration.
            raise RuntimeError("cannot cache function 'add': no locator available")
        return numba.njit(**settings)

    monkeypatch.setattr(jit, "njit", njit)
    assert jit.compiled(add)(1.0, 2.0) == 3.0
    assert asked == [True, False]


@pytest.mark.parametrize("decorator", [jit.compiled, jit.compiled_any_order])
def test_kernels_release_the_lock(decorator: Any) -> None:
    assert decorator(add).targetoptions["nogil"] is True
