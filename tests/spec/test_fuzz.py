"""Documents that nobody meant to write: exit 0 or 2, no traceback, quickly, in little memory."""

import contextlib
import copy
import io
import pathlib
import random
import resource
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archspec.cli import main
from archspec.testing.plans import random_plan_document
from archspec.testing.specs import random_document

MAX_SECONDS = 2.0
MAX_BYTES = 2**30

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["ffn", "experts", "dense", "5-8", "1e400", "0x", "<name>", "[key]", "repeat", "2GiB", "x"]
    ),
    st.lists(st.integers(-1, 5), max_size=3),
    st.just({}),
    st.just({"repeat": 10**9, "layers": ["ffn"]}),
    st.just({"block": "ffn", "hidden_dim": 10**30}),
    st.just({"from": 1, "to": 2}),
)
TEXT_EDITS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["&a ", "*a", "!!python/name:os.system ", "!x ", "- ", ": ", "{", "]", "\t"]),
    st.sampled_from(["\x00", "\ud800", "\u2028", "%YAML 9.9\n", "---\n", "...\n", "? ", "<<: "]),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container and key of a document."""
    found: list[tuple[Any, Any]] = []
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            found += places(value[key])
    return found


@st.composite
def mutated_documents(draw: st.DrawFn) -> str:
    """Draw a valid document with a few values replaced, removed, renamed or repeated."""
    make = draw(st.sampled_from([random_document, random_document, random_plan_document]))
    document = make(draw(st.integers(0, 10_000)))
    rng = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 4))):
        spots = places(document)
        if not spots:
            break
        container, key = rng.choice(spots)
        action = draw(st.sampled_from(["replace", "remove", "rename", "repeat"]))
        if action == "replace":
            container[key] = copy.deepcopy(draw(ODD_VALUES))
        elif action == "remove":
            del container[key]
        elif action == "rename" and isinstance(container, dict):
            container[draw(st.text(max_size=5) | st.integers(-2, 9))] = container.pop(key)
        elif action == "repeat" and isinstance(container, list):
            container.insert(key, container[key])
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Draw a mutated document with its text damaged as well."""
    text = draw(mutated_documents())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 5))
        text = text[:at] + draw(TEXT_EDITS) + text[at + cut :]
    return text


def assert_harmless(text: str, path: pathlib.Path) -> None:
    path.write_bytes(text.encode(errors="surrogatepass"))
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(["check", str(path)])
    assert time.process_time() - start < MAX_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_BYTES
    assert status in (0, 2)
    assert "Traceback" not in out.getvalue()
    assert (status == 2) == ("documents have problems" in out.getvalue())


def fuzz(tmp_path: pathlib.Path, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(text=damaged_texts())
    def run(text: str) -> None:
        assert_harmless(text, tmp_path / "fuzzed.yaml")

    run()


def test_a_few_hundred(tmp_path):
    fuzz(tmp_path, 300)


@pytest.mark.slow
def test_twenty_thousand(tmp_path):
    fuzz(tmp_path, 20_000)
