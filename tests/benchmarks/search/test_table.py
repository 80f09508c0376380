from pathlib import Path

import numpy as np
import pytest

from archspec.errors import BenchmarkError
from archspec.search.params import to_params
from benchmarks.search.table import FILE, SEEDS, Table, read_rows, table_search, train_table


@pytest.fixture(scope="module")
def table() -> Table:
    """Losses with a known noise, where the second seed is higher for all designs."""
    allowed = table_search()[1]
    rng = np.random.default_rng(0)
    designs = rng.normal(3.0, 0.3, size=(len(allowed.listed or ()), 1))
    noise = rng.normal(0.0, 0.05, size=(len(designs), len(SEEDS)))
    return Table(allowed, designs + noise + [0.0, 0.2], [3.0] * designs.size * 2)


def write(path: Path, table: Table, count: int, **changes: str) -> None:
    """Write the first designs as the trainings would."""
    lines = []
    for design, losses in zip((table.allowed.listed or ())[:count], table.losses, strict=False):
        params = {
            name: str(value) for name, value in to_params(table.allowed.space, design).items()
        }
        for seed, loss in zip(SEEDS, losses.tolist(), strict=True):
            row = params | {"seed": str(seed), "facts.nll": f"{loss:.6g}", "seconds": "3"} | changes
            lines.append(",".join(row.values()))
    path.write_text("\n".join(["# who made it", ",".join(row), *lines]) + "\n")


def test_the_space_is_worth_a_table() -> None:
    spec, allowed = table_search()
    assert allowed.listed is not None
    assert len(allowed.listed) >= 300
    assert len(spec.base.layers) == 6


def test_what_a_seed_does_to_all_designs_is_no_noise(table: Table) -> None:
    facts = table.facts()
    assert facts.noise == pytest.approx(0.05, rel=0.1)
    assert facts.seed_effect == pytest.approx(0.2, abs=0.02)
    assert facts.noise_share == pytest.approx(0.05**2 / (0.3**2 + 0.05**2), rel=0.3)
    assert facts.designs == len(table.losses)
    means = table.losses.mean(axis=1)
    assert facts.near == sum(mean <= means.min() + table.noise for mean in means) >= 1
    assert facts.best == means.min()


def test_a_search_sees_the_trainings_of_one_seed(table: Table) -> None:
    assert table.allowed.listed is not None
    for seed in (6, 7):
        target = table.target(seed)
        for row in (0, 17, 200):
            design = table.allowed.listed[row]
            assert target.observe(design) == table.losses[row, seed % 2]
            assert target.truth(design) == table.losses[row].mean()
        assert target.optimum == table.losses.mean(axis=1).min()


def test_a_table_is_read_back(table: Table, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", table, 20)
    found = Table.read(tmp_path / "a.csv")
    np.testing.assert_allclose(found.losses[:20], table.losses[:20], rtol=1e-5)
    assert found.missing == 2 * (len(table.losses) - 20)
    assert len(found.seconds) == 40


def test_half_a_line_is_dropped(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, table, 3)
    path.write_text(path.read_text()[:-4])
    assert len(read_rows(path)) == 5
    assert read_rows(tmp_path / "none.csv") == []


def test_a_table_of_another_space_is_refused(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, table, 2, **{"layers.3": "convolution"})
    with pytest.raises(BenchmarkError, match=r"convolution.*is no design of .*table.yaml"):
        Table.read(path)
    _, allowed = table_search()
    rows = allowed.space.designs(allowed.space.draw(np.random.default_rng(0), 50))
    over = next(design for design in rows if design not in allowed)
    write(path, table, 2, **{n: str(v) for n, v in to_params(allowed.space, over).items()})
    with pytest.raises(BenchmarkError, match="the space was changed: remove the file and run"):
        Table.read(path)


@pytest.mark.skipif(not FILE.exists(), reason="the table was not trained yet")
def test_the_table_that_is_here_is_complete_and_says_more_than_noise() -> None:
    table = Table.read(FILE)
    assert table.missing == 0
    assert np.isfinite(table.losses).all()
    assert table.facts().noise_share < 0.25


@pytest.mark.slow
def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    first = list(train_table(path, processes=1, most=1))
    assert first[0].endswith("0 trainings are done, 1 to do")
    before = read_rows(path)
    second = list(train_table(path, processes=1, most=1))
    assert second[0].endswith("1 trainings are done, 1 to do")
    rows = read_rows(path)
    assert rows[0] == before[0]
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert all(2 < float(row["facts.nll"]) < 6 for row in rows)
