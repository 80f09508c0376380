import pytest

from archspec.bench.goals import goals


def found(report):
    return {(goal.case, goal.where, goal.what): (goal.bound, goal.met) for goal in goals(report)}


def test_cpu_goals_compare_with_stock(make_row, make_report):
    report = make_report(
        make_row("forward", ratios={"F.embedding_bag": 0.9, "gather + einsum": 5.0}),
        make_row("step", ratios={"fused AdamW": 2.5, "SparseAdam": 0.8}),
        make_row("rank", ratios={"three torch.topk": 1.5}),
    )
    assert found(report) == {
        ("forward", "base", "times gather + einsum"): (4.0, True),
        ("forward", "base", "times F.embedding_bag"): (1.0, False),
        ("step", "base", "times fused AdamW"): (2.0, True),
        ("step", "base", "times SparseAdam"): (1.0, False),
        ("rank", "base", "times three torch.topk"): (1.5, True),
    }


def test_growth_compares_two_sizes(make_row, make_report):
    report = make_report(
        make_row("step", ratios={}, seconds=1.0),
        make_row("step", "slots", ratios={}, slots=1 << 24, seconds=1.7),
        make_row("layer", ratios={}, seconds=1.0),
        make_row("layer", "num_keys", ratios={}, num_keys=4096, seconds=3.9),
    )
    assert found(report) == {
        ("step", "slots 1M to 16M", "times as long"): (1.6, False),
        ("layer", "num_keys 1024 to 4096", "times as long"): (4.0, True),
    }


@pytest.mark.parametrize(
    ("dtype", "width", "share"),
    [
        ("bfloat16", 1024, 0.90),
        ("bfloat16", 512, 0.90),
        ("bfloat16", 256, 0.85),
        ("bfloat16", 128, 0.75),
        ("bfloat16", 64, 0.55),
        ("float32", 256, 0.90),
    ],
)
def test_a_gpu_forward_owes_a_share_by_the_bytes_of_a_row(
    dtype, width, share, make_row, make_report
):
    row = make_row("forward", "width", ratios={}, width=width, dtype=dtype, of_copy=share)
    assert found(make_report(row, device="cuda")) == {
        ("forward", f"width {width}", "of copying"): (share, True)
    }


def test_skewed_look_ups_owe_no_share_of_the_bandwidth(make_row, make_report):
    row = make_row("forward", "skew", ratios={}, skew="zipf", of_copy=2.0)
    assert goals(make_report(row, device="cuda")) == ()


def test_gpu_goals_of_selection_and_backward(make_row, make_report):
    report = make_report(
        make_row("topk", ratios={"three torch.topk": 5.5}),
        make_row("backward", ratios={}, of_copy=0.6),
        device="cuda",
    )
    assert found(report) == {
        ("topk", "base", "times three torch.topk"): (5.0, True),
        ("backward", "base", "of copying"): (0.65, False),
    }


def test_a_quick_run_has_no_goals(make_row, make_report):
    row = make_row("forward", ratios={"F.embedding_bag": 2.0})
    assert goals(make_report(row, quick=True)) == ()
