import json
import subprocess
import sys

import pytest

from archspec.cli import main

MEMORY_PLUS = "specs/models/memory_plus_1.3b_1m.yaml"


def printed(capsys, *arguments: str) -> str:
    assert main(["summary", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 160])
def test_fits_the_terminal(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    out = printed(capsys, MEMORY_PLUS)
    assert max(map(len, out.splitlines())) <= width
    assert "\x1b" not in out, "no colour when it is not a terminal"


def test_folds_runs_of_equal_layers_and_shows_the_pool_once(capsys):
    out = printed(capsys, MEMORY_PLUS)
    first_words = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert [w for w in first_words if w[0].isdigit()][:7] == [
        "0-2", "3", "4-10", "11", "12-18", "19", "20-21",
    ]  # fmt: skip
    assert out.count("pool values") == 1
    assert "3,368,142,848 parameters stored" in out


def test_all_unfolds(capsys):
    out = printed(capsys, MEMORY_PLUS, "--all")
    for index in range(22):
        assert any(line.startswith(f"{index} ") for line in out.splitlines())


def test_json(capsys):
    document = json.loads(printed(capsys, MEMORY_PLUS, "--json"))
    assert document["num_params"] == 3_368_142_848
    assert document["flops_per_token"] == 2_680_684_544
    assert document["table_bytes_per_token"] == 3 * 4 * 32 * 2048 * 2
    assert document["layers"][3]["blocks"][0]["type"] == "shared_pool"
    assert {"num_active_params", "seq_len", "conventions"} <= set(document)


def test_seq_len(capsys):
    short, long = (
        json.loads(printed(capsys, MEMORY_PLUS, "--json", "--seq-len", n))["flops_per_token"]
        for n in ("1", "4096")
    )
    assert long - short == 22 * 2 * 4095 * 2048


def test_seq_len_out_of_range(capsys):
    assert main(["summary", MEMORY_PLUS, "--seq-len", "5000"]) == 2
    assert "--seq-len: seq_len must be between 1 and max_seq_len=4096" in capsys.readouterr().err


def test_verify(capsys):
    out = printed(capsys, MEMORY_PLUS, "--verify")
    assert "parameters: 3,368,142,848, equal" in out
    assert out.count("equal") == 2


def test_bad_spec(capsys):
    assert main(["summary", "no.yaml"]) == 2
    assert capsys.readouterr().err == (
        "archspec summary: error:\nno.yaml: no such file; check the path\n"
    )


def test_a_reader_that_leaves_early_sees_no_traceback():
    command = f"{sys.executable} -m archspec summary {MEMORY_PLUS} --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_terminal_without_unicode_still_gets_its_table():
    done = subprocess.run(
        [sys.executable, "-m", "archspec", "summary", MEMORY_PLUS],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert b"total" in done.stdout
