import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from archspec.compiler.compile import compile
from archspec.errors import DataError
from archspec.model.generate import generate
from archspec.spec.data.text import TextSource
from archspec.spec.data.tokens import TokensSource
from archspec.spec.plan import PlanSpec
from archspec.spec.train import Optimizer
from archspec.spec.watch import Samples, Watch
from archspec.testing.ranks import run_on_threads
from archspec.train.data.documents.registry import open_corpus
from archspec.train.data.tokenize import write_tokens
from archspec.train.data.tokenizer import ByteTokenizer, FileTokenizer
from archspec.train.events import Listener
from archspec.train.loop import train
from archspec.train.sample import Sampler, open_codec


class Heard(Listener):
    def __init__(self):
        self.samples, self.warnings = [], []

    def on_sample(self, event):
        self.samples.append(event)

    def on_warning(self, event):
        self.warnings.append(event)


def samples(**changes):
    return Samples(**{"every_steps": 4, "prompt": "The ", "max_tokens": 12} | changes)


def texts(spec, steps, **changes):
    sampler = Sampler(spec, samples(**changes), ByteTokenizer())
    model = compile(spec)
    return [sampler.sample(model, step).text for step in steps]


def test_a_sample_depends_on_seed_and_step_alone(spec):
    first = texts(spec, [4, 8])
    assert first == texts(spec, [4, 8])
    assert first[::-1] == texts(spec, [8, 4])
    assert first[0] != first[1]
    assert first != texts(spec, [4, 8], seed=1)


def test_at_temperature_0_it_is_the_greedy_text(spec):
    (text,) = texts(spec, [4], temperature=0.0)
    prompt = torch.tensor([list(b"The ")])
    expected = generate(compile(spec), prompt, 12)[0, 4:]
    assert text == ByteTokenizer().decode(expected.tolist())


def test_sampling_changes_no_loss_and_no_weight(spec, settings, tmp_path):
    heard = Heard()
    watch = Watch(sample=samples())
    plain = train(spec, settings(), out=tmp_path / "plain")
    sampled = train(spec, settings(watch=watch), out=tmp_path / "sampled", listener=heard)
    assert [step.loss for step in plain.history] == [step.loss for step in sampled.history]
    assert [event.step for event in heard.samples] == [4, 8, 12]
    weights = "checkpoints/step_000012/shard_00000.safetensors"
    assert (tmp_path / "plain" / weights).read_bytes() == (
        tmp_path / "sampled" / weights
    ).read_bytes()
    lines = (tmp_path / "sampled" / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines if '"sample"' in line]
    assert [line["sample"]["text"] for line in logged] == [event.text for event in heard.samples]


def test_the_mode_of_the_model_is_left_as_it_was(spec):
    model = compile(spec).train()
    Sampler(spec, samples(), ByteTokenizer()).sample(model, 1)
    assert model.training


def test_a_sample_that_does_not_fit_is_refused_before_training(spec, settings, tmp_path):
    watch = Watch(sample=samples(max_tokens=29))
    with pytest.raises(DataError, match=r"watch.sample: the prompt's 4 tokens and max_tokens=29"):
        train(spec, settings(watch=watch), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def words(tmp_path):
    """A tokenizer of whole words that marks where they begin, as SentencePiece does."""
    vocabulary = {word: n for n, word in enumerate(["<unk>", "</s>", "▁the", "▁cat", "▁sat"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.txt").write_text("the cat sat " * 400)
    return tmp_path


def heard_of(spec, document):
    heard = Heard()
    train(spec, document, out=None, listener=heard)
    return [event.text for event in heard.samples]


def test_samples_are_written_by_the_tokenizer_of_the_data(spec, settings, words):
    tokenizer = str(words / "tokenizer.json")
    source = TextSource(text=str(words / "text.txt"), tokenizer=tokenizer)
    document = settings(
        data=[source],
        tokens=128 * 24,
        optimizer=Optimizer(lr=2e-2),
        watch=Watch(sample=samples(every_steps=24, prompt="the cat", temperature=0)),
    )
    (text,) = heard_of(spec, document)
    assert text.startswith(" sat the cat sat")
    theirs = Tokenizer.from_file(tokenizer)
    assert theirs.encode(text.strip(), add_special_tokens=False).ids[:3] == [4, 2, 3]


def test_a_prompt_without_a_token_is_refused(spec):
    empty = samples().model_copy(update={"prompt": ""})  # as a tokenizer that strips may make it
    with pytest.raises(DataError, match=r"the tokenizer makes no token of the prompt ''"):
        Sampler(spec, empty, ByteTokenizer())


def test_token_files_are_read_by_the_tokenizer_that_made_them(spec, settings, words):
    tokenizer = FileTokenizer(words / "tokenizer.json")
    corpus = open_corpus(TextSource(text=str(words / "text.txt")))
    write_tokens(corpus, tokenizer, words / "text.bin")
    document = settings(
        data=[TokensSource(tokens=str(words / "text.bin"))],
        tokens=128 * 4,
        watch=Watch(sample=samples(prompt="the")),
    )
    with pytest.raises(DataError, match=r"would be of bytes, but the token ids of text were made"):
        heard_of(spec, document)
    named = samples(prompt="the", tokenizer=str(words / "tokenizer.json"))
    (text,) = heard_of(spec, document.model_copy(update={"watch": Watch(sample=named)}))
    assert text
    with pytest.raises(DataError, match=r"watch.sample: vocab_size >= 5 must hold"):
        open_codec(document.model_copy(update={"watch": Watch(sample=named)}), [], vocab_size=4)


def _sampled(rank, spec, document, plan):
    heard = Heard()
    result = train(spec, document, out=None, plan=plan, listener=heard)
    return heard, [step.loss for step in result.history]


def test_ranks_sample_together(spec, settings):
    document = settings(tokens=128 * 4, watch=Watch(sample=samples(every_steps=2)))
    plan = PlanSpec(mesh={"dp_shard": 2, "ep": 2, "memory": 2}, precision={"compute": "float32"})
    (first, losses), (second, _) = run_on_threads(2, _sampled, spec, document, plan)
    assert second.samples == []  # the first rank speaks for all
    alone = Heard()
    train(spec, document, out=None, listener=alone)
    assert [event.step for event in first.samples] == [2, 4]
    assert first.samples == alone.samples
    plain = document.model_copy(update={"watch": Watch()})
    assert losses == run_on_threads(2, _sampled, spec, plain, plan)[0][1]


def test_where_heads_are_cut_it_says_that_it_is_off(spec, settings):
    document = settings(tokens=128, watch=Watch(sample=samples(every_steps=1)))
    plan = PlanSpec(mesh={"dp_shard": 1, "tp": 2}, precision={"compute": "float32"})
    (heard, _), _ = run_on_threads(2, _sampled, spec, document, plan)
    assert heard.samples == []
    (warning,) = heard.warnings
    assert warning.subject == "watch.sample"
    assert "is off: mesh.tp=2" in warning.message
