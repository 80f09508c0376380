import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import bench_search
from benchmarks.search import finished as finished_module
from benchmarks.search.campaign import AGAIN, ELSEWHERE, TABLE, Done, Job, jobs, run
from benchmarks.search.finished import Finished, origin
from benchmarks.search.losses import STRUCTURES
from benchmarks.search.report import report_from_json

JOB = Job("small", 3, 12)


def test_every_problem_is_searched_with_every_seed(tmp_path: Path) -> None:
    found = list(jobs(seeds=20, evaluations=100, table=tmp_path / "table.csv"))
    assert len({job.name for job in found}) == len(found) == 20 * (len(STRUCTURES) + 2 + 10)
    of_table = [job for job in found if job.problem in (TABLE, AGAIN)]
    assert [job.seed for job in of_table] == list(range(200))
    assert [job.problem for job in of_table] == [TABLE] * 20 + [AGAIN] * 180
    assert {job.evaluations for job in of_table} == {200}
    assert {job.evaluations for job in found if job not in of_table} == {100}


def test_rare_designs_are_proposed_ten_thousand_times() -> None:
    found = [job for job in jobs(seeds=20, evaluations=100, table=None) if job.problem == "rare"]
    assert sum(job.evaluations * len(ELSEWHERE["rare"][1]) for job in found) == 10_000


def test_a_job_depends_on_its_seed_alone() -> None:
    one, other = run(JOB), run(JOB)

    def plain(done: Done) -> list[object]:
        return [dataclasses.replace(result, wall=0, cpu=0) for result in done.results]

    assert plain(one) == plain(other)
    assert plain(run(dataclasses.replace(JOB, seed=4))) != plain(one)
    assert {result.sampler for result in one.results} == set(ELSEWHERE["small"][1])
    assert {len(result.regrets) for result in one.results} == {12}


def test_what_is_finished_is_not_run_again(tmp_path: Path, make_result) -> None:
    finished = Finished(tmp_path)
    assert finished.get(JOB) is None
    done = Done((make_result("a", "milp", 3, [None, 2.0, 1.0]),), 4.5)
    finished.put(JOB, done)
    assert finished.get(JOB) == done
    assert finished.get(dataclasses.replace(JOB, seed=4)) is None
    assert finished.get(dataclasses.replace(JOB, evaluations=13)) is None


def test_what_other_code_or_another_table_came_to_does_not_count(
    tmp_path: Path, make_result, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = Finished(tmp_path)
    table = tmp_path / "table.csv"
    table.write_text("one")
    job = Job(TABLE, 0, 10, table)
    for one in (job, JOB):
        finished.put(one, Done((make_result("a", "milp", 0, [1.0]),), 1.0))
    table.write_text("other")
    assert finished.get(job) is None
    assert finished.get(JOB) is not None
    monkeypatch.setattr(finished_module, "_code", lambda: "changed")
    assert finished.get(JOB) is None
    assert origin(JOB) != origin(job)


def test_only_what_is_missing_is_run(
    tmp_path: Path, make_result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    todo = [dataclasses.replace(JOB, seed=seed) for seed in range(3)]
    done = [Done((make_result("a", "milp", job.seed, [1.0]),), 1.0) for job in todo]
    Finished(tmp_path).put(todo[1], done[1])
    ran: list[Job] = []

    def run_jobs(given: list[Job], _processes: int):
        for job in reversed(given):
            ran.append(job)
            yield job, done[job.seed]

    monkeypatch.setattr(bench_search, "run_jobs", run_jobs)
    assert bench_search.complete(todo, tmp_path, 2) == done
    assert ran == [todo[2], todo[0]]
    assert "3 problems, 1 of them done" in capsys.readouterr().out


def test_a_report_is_written_up_again(
    tmp_path: Path, make_report, every_result, facts, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    report = make_report(every_result(), table=facts)
    bench_search.write(report, tmp_path, tmp_path / "page.md", figures="")
    path = tmp_path / "search.json"
    assert report_from_json(path.read_text()) == report
    assert bench_search.main(["--load", str(path), "--out", str(tmp_path / "again")]) == 0
    again = tmp_path / "again"
    assert (again / "search.json").read_text() == path.read_text()
    assert (again / "search_proof.md").read_text() == (tmp_path / "page.md").read_text()


def test_an_unfinished_table_is_named(tmp_path: Path) -> None:
    table, why = bench_search.read_table(tmp_path / "none.csv")
    assert table is None
    assert why == "there is no table yet; run `python -m benchmarks search_table`"


@pytest.mark.slow
def test_a_quick_run_does_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["--quick", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    assert bench_search.main([*arguments, "--table", str(tmp_path / "none.csv")]) == 0
    assert "6 of 6: " in capsys.readouterr().out
    report = report_from_json((tmp_path / "out" / "search.json").read_text())
    assert report.quick
    assert all(result.fitting == 1 for result in report.results if "optuna" not in result.sampler)
    assert "A quick run" in (tmp_path / "out" / "search_proof.md").read_text()
    assert bench_search.main([*arguments, "--table", str(tmp_path / "none.csv")]) == 0
    assert "6 problems, 6 of them done" in capsys.readouterr().out
    assert json.loads((tmp_path / "runs" / "rare-00.json").read_text())["seconds"] > 0
