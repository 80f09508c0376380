import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archspec.compiler.compile import compile
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.text import TextSource
from archspec.spec.train import Evaluation
from archspec.train.data.mixture import Mixture
from archspec.train.evaluate import as_context, evaluate

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


def measure(model, spec, train, micro_tokens=64):
    mixture = Mixture(train, spec)
    return evaluate(model, mixture, micro_tokens=micro_tokens, device="cpu")


def test_metrics_are_those_that_the_document_names(spec, settings):
    train = settings()
    metrics = measure(compile(spec), spec, train)
    assert set(metrics) == {*train.metrics, "facts.chance"}
    assert list(metrics) == ["loss", "facts.accuracy", "facts.chance", "facts.nll", "pydoc.nll"]


def test_a_model_that_knows_nothing_is_at_chance(spec, settings):
    source = FactsSource(task="facts", num_facts=2000, num_objects=NUM_OBJECTS)
    train = settings(data=[source, TextSource(text="pydoc")])
    wide = spec.replace(vocab_size=512)
    metrics = measure(compile(wide), wide, train, micro_tokens=2048)
    assert metrics["facts.chance"] == 1 / NUM_OBJECTS
    assert metrics["facts.accuracy"] == pytest.approx(1 / NUM_OBJECTS, abs=0.025)


def test_equal_logits_cost_the_logarithm_of_the_vocabulary(spec, settings):
    uniform = Fixed(lambda tokens: torch.zeros(*tokens.shape, spec.vocab_size))
    metrics = measure(uniform, spec, settings())
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
    metrics = measure(Fixed(answer), spec, settings())
    assert metrics["facts.accuracy"] == pytest.approx(expected)


def test_loss_mixes_sources_as_training_does(spec, settings):
    metrics = measure(compile(spec), spec, settings())  # one part facts, three parts text
    targets = {"facts": 0.25 * 0.25, "pydoc": 0.75}
    expected = sum(share * metrics[f"{name}.nll"] for name, share in targets.items())
    assert metrics["loss"] == pytest.approx(expected / sum(targets.values()))


def test_chunks_do_not_matter_and_the_mode_is_kept(spec, settings):
    model = compile(spec)
    model.train()
    train = settings(evaluation=Evaluation(facts=13, text_tokens=100))
    whole, parts = measure(model, spec, train, 10_000), measure(model, spec, train, 1)
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
