import pytest
import torch

from archspec.compiler.compile import compile
from archspec.model.generate import Draws, generate
from archspec.testing.specs import load_document

SPEC = load_document(
    {
        "archspec": 1,
        "kind": "model",
        "vocab_size": 11,
        "max_seq_len": 64,
        "d_model": 16,
        "attention": {"num_heads": 2},
        "blocks": {"ffn": {"type": "dense", "hidden_dim": 16}},
        "layers": ["ffn", "ffn"],
    }
)
PROMPT = torch.tensor([[1, 2, 3]])


@pytest.fixture
def model():
    return compile(SPEC)


def draws(uniforms, *, temperature=1.0, top_k=None):
    return Draws(temperature=temperature, top_k=top_k, uniforms=torch.as_tensor(uniforms))


def test_the_likeliest_of_one_is_the_greedy_choice(model):
    one = draws(torch.rand(1, 20, dtype=torch.float64), top_k=1)
    assert torch.equal(generate(model, PROMPT, 20, draws=one), generate(model, PROMPT, 20))


def test_tokens_are_drawn_as_often_as_they_are_likely(model):
    count = 4000
    even = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    prompts = PROMPT.expand(count, -1)
    found = generate(model, prompts, 1, draws=draws(even, temperature=0.7))[:, -1]
    expected = torch.softmax(model(PROMPT)[0, -1].double() / 0.7, dim=-1)
    shares = torch.bincount(found, minlength=11) / count
    torch.testing.assert_close(shares.double(), expected.detach(), atol=1 / count, rtol=0)


def test_only_the_top_k_are_drawn(model):
    count = 1000
    even = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    found = generate(model, PROMPT.expand(count, -1), 1, draws=draws(even, top_k=3))[:, -1]
    best = model(PROMPT)[0, -1].topk(3).indices
    assert set(found.tolist()) == set(best.tolist())


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_the_ends_of_the_range_draw_a_token(model, u):
    found = generate(model, PROMPT, 5, draws=draws([[u] * 5], temperature=0.01))
    assert found.shape == (1, 8)
    assert found.max() < 11


def test_the_same_numbers_draw_the_same_tokens_and_torch_is_not_asked(model):
    uniforms = torch.rand(2, 10, dtype=torch.float64)
    prompts = PROMPT.expand(2, -1)
    state = torch.get_rng_state()
    first = generate(model, prompts, 10, draws=draws(uniforms))
    assert torch.equal(first, generate(model, prompts, 10, draws=draws(uniforms)))
    assert torch.equal(torch.get_rng_state(), state)
    other = generate(model, prompts, 10, draws=draws(1 - uniforms))
    assert not torch.equal(first, other)
