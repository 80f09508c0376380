"""Options that all tests share."""

from __future__ import annotations

import pytest

# The contracts live in the package; a failing assertion there should explain itself too.
pytest.register_assert_rewrite("archspec.testing")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is printed now into the golden files, to be read before it is committed",
    )
