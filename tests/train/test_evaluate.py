import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archspec.compiler.compile import compile
from archspec.spec.data.copy import CopySource
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.memorization import MemorizationSource
from archspec.spec.data.recall import RecallSource
from archspec.spec.data.text import TextSource
from archspec.spec.train import Evaluation
from archspec.train.data.mixture import Mixture
from archspec.train.evaluate import as_context, evaluate, measure
from archspec.train.score import with_derived
from archspec.train.share import DataShare

NUM_OBJECTS = 16


class Fixed(nn.Module):
    """Gives logits made from the tokens by a function."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, token_ids, context, counted):
        return self.answer(token_ids)[counted]

    def nll(self, token_ids, targets, context, counted):
        return F.cross_entropy(
            self(token_ids, context, counted), targets[counted], reduction="none"
        )


def metrics_of(model, spec, train, micro_tokens=64):
    mixture = Mixture(train, spec)
    return evaluate(model, mixture, micro_tokens=micro_tokens, device="cpu")


def test_metrics_are_those_that_the_document_names(spec, settings):
    train = settings()
    metrics = metrics_of(compile(spec), spec, train)
    assert set(metrics) == {*train.metrics, "facts.chance"}
    assert list(metrics) == ["loss", "facts.accuracy", "facts.chance", "facts.nll", "pydoc.nll"]


def test_a_model_that_knows_nothing_is_at_chance(spec, settings):
    source = FactsSource(task="facts", num_facts=2000, num_objects=NUM_OBJECTS)
    train = settings(data=[source, TextSource(text="pydoc")])
    wide = spec.replace(vocab_size=512)
    metrics = metrics_of(compile(wide), wide, train, micro_tokens=2048)
    assert metrics["facts.chance"] == 1 / NUM_OBJECTS
    assert metrics["facts.accuracy"] == pytest.approx(1 / NUM_OBJECTS, abs=0.025)


def test_equal_logits_cost_the_logarithm_of_the_vocabulary(spec, settings):
    uniform = Fixed(lambda tokens: torch.zeros(*tokens.shape, spec.vocab_size))
    metrics = metrics_of(uniform, spec, settings())
    for name in ("loss", "facts.nll", "pydoc.nll"):
        assert metrics[name] == pytest.approx(math.log(spec.vocab_size))


def test_accuracy_is_over_the_objects_alone(spec, settings):
    """The likeliest token is never an object, and among objects always the first."""
    mixture = Mixture(settings(), spec)
    facts = mixture.sources[0]

    def answer(tokens):
        logits = torch.zeros(*tokens.shape, spec.vocab_size)
        logits[..., 0] = 9.0
        logits[..., facts.choices.start] = 1.0
        return logits

    expected = (facts.world[:, 3] == facts.choices.start).mean()
    metrics = metrics_of(Fixed(answer), spec, settings())
    assert metrics["facts.accuracy"] == pytest.approx(expected)


def test_loss_mixes_sources_as_training_does(spec, settings):
    metrics = metrics_of(compile(spec), spec, settings())  # one part facts, three parts text
    targets = {"facts": 0.25 * 0.25, "pydoc": 0.75}
    expected = sum(share * metrics[f"{name}.nll"] for name, share in targets.items())
    assert metrics["loss"] == pytest.approx(expected / sum(targets.values()))


def test_chunks_do_not_matter_and_the_mode_is_kept(spec, settings):
    model = compile(spec)
    model.train()
    train = settings(evaluation=Evaluation(facts=13, text_tokens=100))
    whole, parts = metrics_of(model, spec, train, 10_000), metrics_of(model, spec, train, 1)
    assert whole == pytest.approx(parts, rel=1e-6)
    assert model.training


def test_facts_of_one_row_do_not_see_each_other(spec, settings):
    """Answers stay the same when the other facts of the row change."""
    model = compile(spec)
    rows = Mixture(settings(), spec).sources[0].evaluation().take(slice(0, 2))
    logits = model(as_context(rows, "cpu").token_ids, as_context(rows, "cpu"))
    rows.token_ids[:, :12] = rows.token_ids[::-1, :12].copy()
    changed = model(as_context(rows, "cpu").token_ids, as_context(rows, "cpu"))
    torch.testing.assert_close(changed[:, 12:], logits[:, 12:])
    assert (changed[:, :12] != logits[:, :12]).any()


def test_text_needs_no_mask(spec, settings):
    facts, text = (source.evaluation() for source in Mixture(settings(), spec).sources)
    assert as_context(text, "cpu").document_mask is None
    assert as_context(facts, "cpu").document_mask is not None


def scores_of(model, spec, train, **changes):
    arguments = {"micro_tokens": 64, "device": "cpu"} | changes
    scores = measure(model, Mixture(train, spec), **arguments)
    return {score.name: score for score in scores}


EVERY_TASK = [
    FactsSource(
        task="facts",
        num_facts=48,
        num_objects=8,
        num_relations=4,
        form="sentences",
        held_out_wordings=2,
        skew=1.0,
    ),
    RecallSource(task="recall", num_pairs=3, num_keys=5, num_values=6, noise=2),
    CopySource(task="copy", num_copied=4, noise=3, num_symbols=5),
    MemorizationSource(task="memorization", num_keys=9, num_values=7),
]


class Oracle(nn.Module):
    """Knows every question of a mixture."""

    def __init__(self, mixture, vocab_size):
        super().__init__()
        self.vocab_size = vocab_size
        self.targets = {}
        for source in mixture.sources:
            rows = source.evaluation()
            self.targets |= {
                row.tobytes(): targets
                for row, targets in zip(rows.token_ids, rows.targets, strict=True)
            }

    def forward(self, token_ids, context, counted):
        rows = [torch.from_numpy(self.targets[row.numpy().tobytes()]) for row in token_ids]
        return 50.0 * F.one_hot(torch.stack(rows), self.vocab_size)[counted].float()


def test_who_knows_everything_is_always_right(spec, settings):
    train = settings(data=EVERY_TASK)
    scores = scores_of(Oracle(Mixture(train, spec), spec.vocab_size), spec, train)
    assert {name for name in scores if not name.endswith(".chance")} == set(train.metrics)
    for name in train.metrics:
        assert scores[name].value == pytest.approx(1.0 if ".accuracy" in name else 0.0)
        if ".accuracy" in name:
            assert 0.5 < scores[name].low < 1
            assert scores[name].high == pytest.approx(1)


def test_the_intervals_of_who_guesses_hold_chance(spec, settings):
    """Of ten that guess at four tasks each, two intervals in forty miss what they should hold."""
    train = settings(data=EVERY_TASK, evaluation=Evaluation(questions=100))
    hits = 0
    for seed in range(10):
        coin = torch.Generator().manual_seed(seed)
        guess = Fixed(lambda t, coin=coin: torch.rand(*t.shape, spec.vocab_size, generator=coin))
        scores = scores_of(guess, spec, train, micro_tokens=4096)
        for source in EVERY_TASK:
            accuracy, chance = (scores[f"{source.name}.{what}"] for what in ("accuracy", "chance"))
            assert chance.value == 1 / source.num_choices
            assert chance.low is chance.high is None
            hits += accuracy.low <= chance.value <= accuracy.high
    assert hits >= 34


def test_buckets_average_to_the_whole(spec, settings):
    train = settings(data=EVERY_TASK[:1])
    scores = scores_of(compile(spec), spec, train)
    parts = [scores[f"facts.nll.{name}"] for name in ("rare", "medium", "common")]
    whole = scores["facts.nll"]
    assert sum(part.count for part in parts) == whole.count == whole.documents == 48
    mean = sum(part.value * part.count for part in parts) / whole.count
    assert mean == pytest.approx(whole.value)


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_ranks_together_measure_what_one_does(spec, settings, parts):
    """Ranks in turn; what each would send is what the next gets added."""
    sources = [*EVERY_TASK, TextSource(text="pydoc")]
    train = settings(data=sources, evaluation=Evaluation(questions=50, text_tokens=300))
    model = compile(spec)

    class Turn:
        sent = 0.0

        def sum(self, values):
            Turn.sent = Turn.sent + values
            return Turn.sent

    for index in range(parts):
        share = DataShare(index=index, parts=parts, tp=1)
        scores = scores_of(model, spec, train, world=Turn(), share=share)
    alone = scores_of(model, spec, train)
    assert scores.keys() == alone.keys()
    for name, score in alone.items():
        assert scores[name].count == score.count
        assert scores[name].documents == score.documents
        assert scores[name].value == pytest.approx(score.value, rel=1e-6)
        if score.high is None:
            assert name.endswith(".chance")
        else:
            ends = (scores[name].low, scores[name].high)
            assert ends == pytest.approx((score.low, score.high), rel=1e-5)


def test_perplexity_and_bits_follow_the_likelihood(spec, settings):
    mixture = Mixture(settings(), spec)
    measured = measure(compile(spec), mixture, micro_tokens=64, device="cpu")
    sizes = {source.name: source.bytes_per_target for source in mixture.sources}
    scores = {score.name: score for score in with_derived(measured, sizes)}
    assert scores["pydoc.perplexity"].value == pytest.approx(math.exp(scores["pydoc.nll"].value))
    bits = scores["pydoc.bits_per_byte"]
    assert bits.high == pytest.approx(scores["pydoc.nll"].high / math.log(2) / sizes["pydoc"])
    assert "facts.perplexity" in scores
    assert "facts.bits_per_byte" not in scores
