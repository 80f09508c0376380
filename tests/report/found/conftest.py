"""One finished search for all tests of its report."""

import pytest

from archspec.search.findings import Findings, find
from archspec.search.opened import SearchRun, open_run
from archspec.testing.searched import SEARCH, searched


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    # At random, so that what is recorded outlives changes of the samplers.
    text = SEARCH.replace("trials: 24", "trials: 24\nsampler: random")
    out, _ = searched(tmp_path_factory.mktemp("searched"), search=text)
    return open_run(out)


@pytest.fixture(scope="session")
def findings(run: SearchRun) -> Findings:
    return find(run)
