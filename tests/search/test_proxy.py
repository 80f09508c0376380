import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from archspec.cost.summary import summarize
from archspec.errors import DivergedError
from archspec.report.search import search_report
from archspec.search.feasible import FeasibleSpace
from archspec.search.objective import Outcome
from archspec.search.proxy import spread
from archspec.search.stage_results import RungEntry, RungResult
from archspec.search.study import start_search
from archspec.spec.attention.mla import MlaConfig
from archspec.spec.dump import spec_hash
from archspec.spec.load import load_model, load_search
from archspec.spec.search.expand import proxied, samples, shrink_of
from archspec.spec.search.heads import shrink_heads
from archspec.spec.search.proxy import Proxy
from archspec.spec.search.shrink import Shrink, faults, groups

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

MODEL = """\
archspec: 1
kind: model
name: target
vocab_size: 400
max_seq_len: 64
d_model: 256
attention: {num_heads: 8, num_kv_heads: 4}
pools:
  big: {num_keys: 64, value_dim: 256}
blocks:
  ffn: {type: dense, hidden_dim: 640}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 320, shared_hidden_dim: 96}
  private: {type: memory, num_keys: 48, value_dim: 256, num_heads: 2, top_k: 4, key_dim: 64}
  shared: {type: shared_pool, pool: big, num_heads: 2, top_k: 4, key_dim: 96}
layers: {num_layers: 11, default: ffn}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 64, num_objects: 8}]
"""
SEARCH = """\
archspec: 1
kind: search
base: model.yaml
vary:
  layers: {choices: [ffn, experts, private, shared], fixed: {0: ffn}}
  pools.big.num_keys: [32, 64]
budgets: {flops_per_token: {max: 1.2x}, num_params: {max: 4x}}
proxy: {num_layers: 4, d_model: 64, vocab_size: 128, check: {d_model: 32, designs: 5}}
objective: {train: train.yaml, metric: facts.nll}
trials: 8
finalists: 2
"""


@pytest.fixture
def proxy_file(tmp_path: Path) -> Path:
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "train.yaml").write_text(TRAIN)
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH)
    return path


@given(st.integers(1, 60), st.integers(1, 60))
def test_groups_are_all_layers_in_order_of_nearly_one_size(proxy_layers, num_layers) -> None:
    if proxy_layers > num_layers:
        return
    found = groups(proxy_layers, num_layers)
    assert [layer for group in found for layer in group] == list(range(num_layers))
    sizes = [len(group) for group in found]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@pytest.mark.parametrize("expand", ["group", "centre"])
def test_designs_and_proxies_are_one_to_one_and_priced_as_targets(
    proxy_file: Path, expand: str
) -> None:
    proxy_file.write_text(SEARCH.replace("{num_layers: 4", f"{{expand: {expand}, num_layers: 4"))
    spec = load_search(proxy_file)
    assert spec.proxy is not None
    allowed, shrink = FeasibleSpace.of(spec), shrink_of(spec, spec.proxy)
    rows = allowed.space.draw(np.random.default_rng(0), 60)
    designs = sorted(set(allowed.space.designs(rows)), key=str)
    proxies = set()
    for design in designs:
        target = allowed.space.model(design)
        small = shrink(target)
        assert (small.d_model, len(small.layers), small.vocab_size) == (64, 4, 128)
        assert not list(faults(small))
        proxies.add(spec_hash(small))
        total = summarize(target).total
        prices = allowed.prices(design)
        for name in ("num_params", "flops_per_token", "num_active_params"):
            assert prices[name] == getattr(total, name)
    assert len(proxies) == len({allowed.space.hash(d) for d in designs}) == len(designs) > 20


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 11),
    st.sampled_from([16, 32, 48, 64, 128, 256]),
    st.sampled_from(["group", "centre"]),
    st.sampled_from([4, 8]),
)
def test_every_choice_of_a_gene_shows_in_the_proxy(layers, d_model, expand, round_to) -> None:
    spec = _loaded()
    proxy = Proxy(d_model=d_model, num_layers=layers, expand=expand, round_to=round_to)
    variant = proxied(spec.variants[0], proxy)
    chosen = samples(variant, proxy)
    assert len(chosen) == layers
    for gene in variant.genes:
        if len(variant.choices[gene[0]]) > 1:
            assert set(gene) & set(chosen)
    shrink = Shrink(variant.base, proxy, chosen)
    for block in variant.base.templates.values():
        small = shrink._config(block)
        assert small.type == block.type
        for name, value in block.model_dump().items():
            if name in ("hidden_dim", "key_dim", "num_keys"):
                assert getattr(small, name) % round_to == 0
                assert getattr(small, name) <= max(value, round_to)
    heads = shrink_heads(variant.base.layers[0].attention, proxy, ratio=d_model / 256)
    assert not list(heads.check(d_model))
    if d_model >= 64:
        assert heads.num_heads * heads.head_dim == d_model  # as wide as the model, like the target


_KEPT: dict[str, object] = {}


def _loaded():
    if not _KEPT:
        import tempfile

        folder = Path(tempfile.mkdtemp())
        (folder / "model.yaml").write_text(MODEL)
        (folder / "train.yaml").write_text(TRAIN)
        (folder / "search.yaml").write_text(SEARCH)
        _KEPT["spec"] = load_search(folder / "search.yaml")
    return _KEPT["spec"]


def test_shares_of_the_model_stay(proxy_file: Path) -> None:
    spec = load_search(proxy_file)
    allowed = FeasibleSpace.of(spec)
    shrink = shrink_of(spec, Proxy(d_model=64, num_layers=4, round_to=1))
    target = allowed.space.model(allowed.space.normal([0] + [3] * 4, [1]))
    small = shrink(target)
    (big,) = target.pools.values()
    (table,) = small.pools.values()
    assert table.value_dim == small.d_model  # it was the target's
    assert big.slots * big.value_dim / (table.slots * table.value_dim) == pytest.approx(16)
    dense = shrink(allowed.space.model(allowed.space.normal([0] * 5, [0])))
    assert dense.layers[0].blocks[0].hidden_dim == 160


def test_declared_sizes_and_factors(proxy_file: Path) -> None:
    spec = load_search(proxy_file)
    given = {"d_model": 64, "num_keys": "0.5x", "num_heads": 2, "num_experts": 3, "key_dim": 20}
    shrink = shrink_of(spec, Proxy.model_validate({**given, "num_layers": 4}, strict=True))
    templates = spec.base.templates
    assert shrink._config(templates["private"]).num_keys == 24
    assert shrink._config(templates["private"]).key_dim == 20
    assert shrink._config(templates["experts"]).num_experts == 3
    attention = shrink.layer(spec.base.layers[0]).attention
    assert attention.shape == (2, 1, 32)


def test_latent_attention_shrinks() -> None:
    target = load_model("specs/models/deepseek_v2_lite.yaml").layers[0].attention
    small = shrink_heads(target, Proxy(d_model=128), ratio=1 / 16)
    assert isinstance(small, MlaConfig)
    assert (small.num_heads, small.query_dim, small.kv_lora_rank) == (4, 48, 32)
    assert not list(small.check(128))


class Widths:
    """Judges by the hash of the target's placement, and remembers which models it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, spec, seed, *, fidelity=None) -> Outcome:
        self.seen.append((spec.d_model, len(spec.layers)))
        kinds = [layer.blocks[0].type for layer in spec.layers]
        if kinds[1] == "moe" and spec.d_model == 32:
            raise DivergedError("diverged")
        value = float(sum(len(kind) * 3**i for i, kind in enumerate(kinds)))
        value = value if spec.d_model == 64 else -value
        return Outcome(value=value + seed / 1e6, metrics={"facts.nll": value}, seconds=1.0)


def test_trials_train_proxies_and_winners_are_written_at_both_sizes(
    proxy_file: Path, tmp_path: Path
) -> None:
    spec, judge, out = load_search(proxy_file), Widths(), tmp_path / "run"
    results = start_search(spec, out, objective=judge)
    assert set(judge.seen) == {(64, 4), (32, 4)}
    best, small = load_model(out / "best.yaml"), load_model(out / "best_proxy.yaml")
    assert (best.d_model, len(best.layers)) == (256, 11)
    assert (small.d_model, len(small.layers)) == (64, 4)
    assert spec_hash(best) == results.best.spec_hash
    assert spec.proxy is not None
    assert spec_hash(shrink_of(spec, spec.proxy)(best)) == spec_hash(small)
    found = results.proxy
    assert found is not None
    assert (found.d_model, found.num_layers, found.check_d_model) == (64, 4, 32)
    assert found.num_params == summarize(small).total.num_params
    assert found.target_num_params == summarize(best).total.num_params
    assert found.check is not None
    assert found.check.of == ("d_model=64", "d_model=32")
    assert found.check.spearman == pytest.approx(-1.0)  # Widths turns the ranking round
    assert found.check.is_low
    page = Console(file=io.StringIO(), width=100)
    with page.capture() as said:
        page.print(search_report(results, out))
    words = " ".join(said.get().split())
    assert "Trained in place of every design was a proxy of 4 layers and width 64" in words
    assert "Warning: d_model=64 and d_model=32 rank" in words
    assert "with a correlation of -1.00: that is low" in words


def test_checked_designs_are_spread_over_the_ranking() -> None:
    entries = tuple(
        RungEntry(trial=i, spec_hash=f"h{i}", is_hand_design=False, values=(float(i),))
        for i in range(9)
    )
    first = RungResult(rung=0, tokens=1, entries=entries)
    assert [entry.trial for entry in spread(first, 3)] == [0, 4, 8]
    assert len(spread(first, 20)) == 9


def test_the_bundled_search_through_a_proxy() -> None:
    spec = load_search("specs/search/proxy_1.3b.yaml")
    allowed = FeasibleSpace.of(spec)
    assert spec.proxy is not None
    rows = allowed.space.draw(np.random.default_rng(0), 40)
    designs = set(allowed.select(*rows))
    shrink = shrink_of(spec, spec.proxy)
    assert len({spec_hash(shrink(allowed.space.model(d))) for d in designs}) == len(designs)
    for design in designs:
        assert len(allowed.space.model(design).layers) == 22
