import builtins
import csv
import io
import json
import sys

import pytest

from archspec.cli import main
from archspec.cli.setting import OPTIMIZERS, RECOMPUTE
from archspec.cost import activations, training

DENSE, MOE = "specs/models/dense_1.3b.yaml", "specs/models/moe_1.3b.yaml"
MEMORY_PLUS = "specs/models/memory_plus_1.3b_1m.yaml"
DEVICE = ["--hardware", "h100", "--batch", "8"]


def printed(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def complaint(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", DENSE, MOE, MEMORY_PLUS, *DEVICE],
        ["summary", MEMORY_PLUS, *DEVICE],
        ["diff", DENSE, MOE],
        ["show", MEMORY_PLUS, "--origin"],
        ["hardware"],
        ["hardware", "h100"],
    ],
    ids=" ".join,
)
def test_fits_the_terminal(arguments, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    out = printed(capsys, *arguments)
    assert max(map(len, out.splitlines())) <= width
    assert "\x1b" not in out, "no colour when it is not a terminal"


def test_ratios_are_to_the_first(capsys):
    document = json.loads(printed(capsys, "compare", DENSE, MOE, "--json"))
    quantities = document["quantities"]
    assert quantities["num_params"]["values"] == [1_261_529_088, 3_545_507_840]
    assert quantities["num_params"]["ratios"] == [1, 3_545_507_840 / 1_261_529_088]
    assert quantities["num_table_params"]["ratios"] == [None, None]
    assert quantities["training_bytes"]["values"][0] > 18 * 1_261_529_088
    assert "train_step_seconds" not in quantities
    assert [model["name"] for model in document["models"]] == ["dense-1.3b", "moe-1.3b"]


def test_times_come_with_a_device(capsys):
    document = json.loads(printed(capsys, "compare", DENSE, MOE, "--json", *DEVICE))
    quantities = document["quantities"]
    assert quantities["decode_step_seconds"]["ratios"][1] > 1
    assert 0 < quantities["train_mfu"]["values"][0] <= 1


def test_csv_is_exact(capsys):
    out = printed(capsys, "compare", DENSE, MOE, "--csv")
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(out))}
    assert rows["quantity"] == ["unit", "dense-1.3b", "moe-1.3b", "moe-1.3b / dense-1.3b"]
    assert rows["flops_per_token"][:3] == ["FLOPs", "2760900608", "2761261056"]


def test_summary_as_csv_adds_up(capsys):
    out = printed(capsys, "summary", MEMORY_PLUS, "--csv", *DEVICE)
    *parts, total = csv.DictReader(io.StringIO(out))
    assert total["part"] == "total"
    for name in ("num_params", "flops_per_token", "table_bytes_per_token"):
        assert sum(int(part[name]) for part in parts) == int(total[name])
    assert parts[4]["layer"] == "3"
    assert parts[4]["train_bound"] == "memory"


def test_models_of_different_lengths_are_compared_at_the_shortest(capsys):
    out = printed(capsys, "compare", DENSE, "specs/models/llama3_8b.yaml", "--json")
    assert "at 4096 tokens" in json.loads(out)["conventions"][0]


def test_a_model_twice_gets_a_number(capsys):
    assert "dense-1.3b (2)" in printed(capsys, "compare", DENSE, DENSE, "--csv")


def test_many_models_go_into_several_tables_led_by_the_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = printed(capsys, "compare", DENSE, MOE, MOE, MOE, MOE)
    assert out.count("dense-1.3b") == 2
    assert "moe-1.3b (4)" in out.replace("\n", " ") or "(4)" in out


def test_set_reaches_every_model(capsys):
    document = json.loads(
        printed(capsys, "compare", DENSE, MOE, "--json", "--set", "vocab_size=1000")
    )
    plain = json.loads(printed(capsys, "compare", DENSE, MOE, "--json"))
    for small, large in zip(
        *(d["quantities"]["num_params"]["values"] for d in (document, plain)), strict=True
    ):
        assert large - small == 2 * 31000 * 2048


def test_summary_says_what_does_not_fit(capsys):
    out = printed(capsys, "summary", DENSE, *DEVICE)
    assert "Training does not fit" in out
    assert "estimates for one device" in out
    assert "does not fit" not in printed(
        capsys, "summary", DENSE, "--hardware", "h200", "--batch", "8"
    )


def test_summary_with_a_batch_alone_has_bytes_and_no_times(capsys):
    document = json.loads(printed(capsys, "summary", DENSE, "--batch", "2", "--json"))
    assert document["estimates"]["training_fits"] is None
    assert "train_step" not in document["estimates"]
    assert "estimates" not in json.loads(printed(capsys, "summary", DENSE, "--json"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hardware", "h1000"], "unknown device 'h1000'; did you mean 'h100'?"),
        (["--hardware", "no.yaml"], "no.yaml: no such file"),
        (["--hardware", DENSE], "expected a hardware document, but this is kind 'model'"),
        (["--batch", "0"], "batch must be at least 1, but is 0"),
        (["--context", "0"], "max_seq_len=4096"),
        (["--hardware", "a100", "--dtype", "float64", "--set", "d_modle=3"], "did you mean"),
    ],
)
@pytest.mark.parametrize("command", ["summary", "compare"])
def test_bad_settings(command, arguments, words, capsys):
    assert words in complaint(capsys, command, DENSE, *arguments)


def test_choices_are_those_of_the_books():
    assert RECOMPUTE == activations.RECOMPUTE
    assert tuple(training.OPTIMIZERS) == OPTIMIZERS


def test_plot_without_matplotlib_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    honest = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return honest(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    said = complaint(capsys, "summary", DENSE, "--plot", str(tmp_path / "a.png"))
    assert "pip install 'archspec-lm[plot]'" in said


@pytest.mark.parametrize("name", ["plot.pdf", "no/such/folder.png"])
def test_plot_into_nowhere(name, capsys):
    assert "--plot: " in complaint(capsys, "summary", DENSE, "--plot", name)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plot(ending, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"models.{ending}"
    printed(capsys, "compare", DENSE, MOE, MEMORY_PLUS, "--plot", str(file))
    assert file.stat().st_size > 10_000
