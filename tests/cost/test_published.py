"""Every published model of the library has the parameters that its header says were published.

A header line reads ``# published: TOTAL parameters[ without norm weights][, N active].`` An exact
TOTAL is demanded to the unit, a rounded one to its last printed digit.
"""

import pathlib
import re

import pytest

from archspec.cost.summary import summarize
from archspec.spec.load import load_model

LINE = re.compile(
    r"^# published: (?P<total>[\d.,]+B?) parameters(?P<bare> without norm weights)?"
    r"(?:, (?P<active>[\d.]+B) active)?\.$",
    flags=re.M,
)
MODELS = sorted(pathlib.Path("specs/models").glob("*.yaml"))
PUBLISHED = {path.stem: LINE.search(path.read_text()) for path in MODELS}
CLAIMS = {name: match for name, match in PUBLISHED.items() if match}


def assert_printed(value: int, printed: str) -> None:
    """Demand a value that one would print so, rounded or cut off."""
    if not printed.endswith("B"):
        assert value == int(printed.replace(",", ""))
        return
    digits = len(printed[:-1].partition(".")[2])
    assert abs(value / 1e9 - float(printed[:-1])) < 10**-digits


def num_norm_weights(spec) -> int:
    return (2 * len(spec.layers) + 1) * spec.d_model


@pytest.mark.parametrize("name", CLAIMS)
def test_totals_are_as_published(name):
    claim = CLAIMS[name]
    spec = load_model(f"specs/models/{name}.yaml")
    total = summarize(spec).total
    stored = total.num_params - (num_norm_weights(spec) if claim["bare"] else 0)
    assert_printed(stored, claim["total"])
    if claim["active"]:
        assert_printed(total.num_active_params, claim["active"])


def test_the_library_is_large_and_its_headers_are_read():
    assert len(CLAIMS) >= 45
    claiming = [path.stem for path in MODELS if "# published" in path.read_text()]
    assert sorted(claiming) == sorted(CLAIMS)
