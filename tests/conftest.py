"""Options that all tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

# The contracts live in the package; a failing assertion there should explain itself too.
pytest.register_assert_rewrite("archspec.testing")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is printed now into the golden files, to be read before it is committed",
    )


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Have Ctrl-C interrupt here and in processes started meanwhile, as it does in a terminal.

    A shell has its background jobs ignore it, of which these tests may be one.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
