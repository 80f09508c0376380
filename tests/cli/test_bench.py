import json

import pytest

from archspec.bench import results
from archspec.cli import main

QUICK = ["bench", "kernels", "--quick", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    """A run of two sizes of the forward, as --json writes it."""
    from archspec.bench.kernels import bench_kernels

    file = tmp_path_factory.mktemp("bench") / "run.json"
    file.write_text(
        results.report_json(bench_kernels("cpu", quick=True, only=["forward"], threads=1))
    )
    return file


def test_json_goes_to_output_and_progress_to_errors(capsys):
    assert main([*QUICK, "--only", "rank", "--json"]) == 0
    said = capsys.readouterr()
    value = json.loads(said.out)
    assert value["quick"] is True
    assert [row["case"] for row in value["rows"]] == ["rank"]
    assert said.err.startswith("[1/1] rank base: ")


def test_a_table_for_each_case(run_file, capsys):
    assert main(["bench", "kernels", "--load", str(run_file)]) == 0
    out = capsys.readouterr().out
    assert "Forward: weighted sums of table rows" in out
    assert "width 64" in out
    assert "A quick run" in out


def test_a_loaded_run_can_be_printed_as_json_again(run_file, capsys):
    assert main(["bench", "kernels", "--load", str(run_file), "--json"]) == 0
    assert capsys.readouterr().out == run_file.read_text()


def test_png(run_file, tmp_path, capsys):
    file = tmp_path / "run.png"
    assert main(["bench", "kernels", "--load", str(run_file), "--png", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "foward"], "did you mean 'forward'?"),
        (["--threads", "0"], "N >= 1 must hold"),
        (["--load", "run.json"], "leave out --device and --quick and --threads"),
        (["--png", "run.gif"], "must end in .png or .svg"),
        (["--png", "nowhere/run.png"], "no such folder: nowhere"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert main([*QUICK, *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "is no JSON"),
        ("[]", "holds no benchmark"),
        ('{"schema": 9, "kind": "kernels"}', "measure it again"),
    ],
)
def test_a_file_that_is_no_run(text, words, tmp_path, capsys):
    file = tmp_path / "run.json"
    file.write_text(text)
    assert main(["bench", "kernels", "--load", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys):
    assert main(["bench", "kernels", "--load", "nowhere.json"]) == 2
    assert "--load: nowhere.json: No such file" in capsys.readouterr().err
