import json
import pathlib

import pytest

from archspec.cli import main
from archspec.cost.difference import model_difference
from archspec.cost.summary import summarize
from archspec.spec.compose import compose
from archspec.spec.difference import differences, exchanged
from archspec.spec.load import load_model

DENSE, MOE = "specs/models/dense_1.3b.yaml", "specs/models/moe_1.3b.yaml"


def changed(*overrides):
    return model_difference(compose(DENSE), compose(DENSE, overrides))


def test_a_single_change_is_the_difference_of_two_summaries():
    found = changed("blocks.ffn.hidden_dim=8192")
    (change,) = found.changes
    assert (change.path, change.before, change.after) == ("blocks.ffn.hidden_dim", 5632, 8192)
    assert change.effect.added == found.total.added
    assert change.effect.added["num_params"] == 22 * 3 * 2048 * (8192 - 5632)
    file, _, line = change.origin_before.rpartition(":")
    assert file == DENSE
    assert "hidden_dim: 5632" in pathlib.Path(DENSE).read_text().splitlines()[int(line) - 1]


def test_changes_alone_and_together():
    found = changed("layers.num_layers=44", "blocks.ffn.hidden_dim=8192")
    alone = {change.path: change.effect.added["num_params"] for change in found.changes}
    base, wide, deep = (
        summarize(load_model(DENSE, overrides)).total.num_params
        for overrides in ([], ["blocks.ffn.hidden_dim=8192"], ["layers.num_layers=44"])
    )
    assert alone == {"blocks.ffn.hidden_dim": wide - base, "layers.num_layers": deep - base}
    assert found.total.added["num_params"] > sum(alone.values())


def test_what_is_not_valid_alone_says_why():
    found = changed("d_model=2056", "attention.head_dim=128")
    problems = {change.path: change.problem for change in found.changes}
    assert problems["attention.head_dim"] == ""
    assert "num_heads must divide d_model" in problems["d_model"]


def test_values_that_one_document_leaves_out():
    found = changed("tie_embeddings=true")
    (change,) = found.changes
    assert (change.before, change.origin_before) == (None, "absent")
    assert found.total.added["num_params"] == -32000 * 2048
    back = model_difference(compose(DENSE, ["tie_embeddings=true"]), compose(DENSE))
    assert back.changes[0].effect.added["num_params"] == 32000 * 2048


def test_names_do_not_count():
    assert changed("name=another").changes == ()


def test_lists_of_one_length_are_compared_item_by_item(tmp_path):
    first, second = compose(DENSE, ["layers=[ffn, ffn]"]), compose(DENSE, ["layers=[ffn, []]"])
    assert [difference.path for difference in differences(first, second)] == [("layers", 1)]
    shorter = compose(DENSE, ["layers=[ffn]"])
    assert [difference.path for difference in differences(first, shorter)] == [("layers",)]


def test_exchanging_leaves_the_tree_as_it_was():
    root = compose(DENSE)
    before = root.plain()
    other = compose(DENSE, ["blocks.ffn.hidden_dim=1"]).at(("blocks", "ffn", "hidden_dim"))
    assert exchanged(root, ("blocks", "ffn", "hidden_dim"), other).plain() != before
    assert "blocks" not in exchanged(root, ("blocks",), None).plain()
    assert root.plain() == before


@pytest.mark.parametrize("second", [MOE, "specs/models/memory_plus_1.3b_16m.yaml"])
def test_diff_as_json(second, capsys):
    assert main(["diff", DENSE, second, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    added = summarize(load_model(second)).total.num_params - 1_261_529_088
    assert document["together"]["num_params"] == added
    assert all(
        (change["alone"] is None) != (change["problem"] is None) for change in document["changes"]
    )


def test_diff_as_text(capsys):
    assert main(["diff", DENSE, MOE]) == 0
    out = capsys.readouterr().out
    assert "not valid alone" in out
    assert "together, " in out
    assert main(["diff", DENSE, DENSE]) == 0
    assert capsys.readouterr().out == "The two documents declare the same values.\n"


def test_diff_of_something_else(capsys):
    assert main(["diff", DENSE, "specs/hardware/h100.yaml"]) == 2
    assert "expected a model document" in capsys.readouterr().err
