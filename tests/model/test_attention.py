"""Attention, positions and norms against their definitions."""

import pytest
import torch

from archspec.blocks.base import CostContext, ModelScope
from archspec.blocks.module import BuildContext, ForwardContext
from archspec.compiler.initialise import initialise
from archspec.model.attention.gqa import GqaAttention
from archspec.model.attention.visible import document_mask
from archspec.model.norm import RMSNorm
from archspec.model.rope import rotary_angles, rotate
from archspec.spec.attention.gqa import GqaConfig
from archspec.testing.blocks import SCOPE, context_of, random_input, saved_bytes_per_token

SHAPES = [(4, 4, 10), (4, 2, 6), (6, 1, 8), (1, 1, 2)]


def build_attention(shape, dtype=torch.float64):
    heads, kv_heads, head_dim = shape
    config = GqaConfig(
        num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, rope_theta=100.0
    ).resolved(SCOPE.d_model)
    module = GqaAttention(config, BuildContext(scope=SCOPE, norm_eps=1e-5, pools={})).to(dtype)
    initialise(module, seed=3)
    return module


def turn(x, theta):
    """Rotary positions by complex numbers, on [batch, seq, heads, head_dim]."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None, None] * frequencies
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat((turned.real, turned.imag), dim=-1)


def by_definition(module, x, visible):
    heads, kv_heads, head_dim = module.config.shape
    batch, seq, _ = x.shape
    query = turn((x @ module.query.weight.T).view(batch, seq, heads, head_dim), 100.0)
    key = turn((x @ module.key.weight.T).view(batch, seq, kv_heads, head_dim), 100.0)
    value = (x @ module.value.weight.T).view(batch, seq, kv_heads, head_dim)
    outputs = []
    for head in range(heads):
        group = head * kv_heads // heads
        scores = query[:, :, head] @ key[:, :, group].mT / head_dim**0.5
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        outputs.append(weights @ value[:, :, group])
    return torch.cat(outputs, dim=-1) @ module.output.weight.T


@pytest.mark.parametrize("shape", SHAPES)
def test_is_causal_attention(shape):
    module, x = build_attention(shape), random_input(2, 7)
    expected = by_definition(module, x, torch.ones(7, 7, dtype=torch.bool).tril())
    torch.testing.assert_close(module(x, context_of(x)), expected)


def test_documents_do_not_see_each_other():
    module, x = build_attention((4, 2, 6)), random_input(2, 8)
    ids = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2], [5] * 8])
    context = context_of(x)
    context.document_mask = document_mask(ids)
    result = module(x, context)
    for row, start, stop in [(0, 0, 3), (0, 3, 7), (0, 7, 8), (1, 0, 8)]:
        alone = x[row : row + 1, start:stop]
        # Rotary positions are relative, so a document that starts at 3 is as one that starts at 0.
        torch.testing.assert_close(
            result[row : row + 1, start:stop], module(alone, context_of(alone))
        )


def test_given_positions_are_used():
    module, x = build_attention((4, 4, 10)), random_input(2, 6)
    counted = torch.arange(6).expand(2, 6)
    context = context_of(x)
    plain = module(x, context)
    context.positions = counted
    assert torch.equal(module(x, context), plain)
    context.positions = counted + 1000
    torch.testing.assert_close(module(x, context), plain, rtol=1e-9, atol=1e-9)
    context.positions = counted * 3
    assert not torch.allclose(module(x, context), plain)


@pytest.mark.parametrize("shape", SHAPES)
def test_activation_bytes_are_what_autograd_saves(shape):
    module = build_attention(shape, torch.float32)
    heads, kv_heads, head_dim = shape
    config = GqaConfig(num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim).resolved(45)
    context = CostContext(scope=SCOPE, seq_len=24, activation_element_bytes=4)
    priced = config.cost(context).activation_bytes_per_token
    assert priced == pytest.approx(saved_bytes_per_token(module), rel=0.1)


def test_rotation_keeps_lengths_and_depends_on_distance():
    x = torch.randn(1, 1, 1, 16, dtype=torch.float64)
    y = torch.randn(1, 1, 1, 16, dtype=torch.float64)

    def at(position, vector):
        angles = rotary_angles(torch.tensor([[position]]), 16, 1e4, torch.float64)
        return rotate(vector, angles.cos(), angles.sin())

    assert torch.equal(at(0, x), x)
    torch.testing.assert_close(at(77, x).norm(), x.norm())
    torch.testing.assert_close((at(5, x) * at(2, y)).sum(), (at(905, x) * at(902, y)).sum())


def test_rotation_keeps_the_dtype():
    angles = rotary_angles(torch.arange(3)[None], 4, 1e4, torch.float32)
    x = torch.randn(1, 3, 2, 4, dtype=torch.bfloat16)
    assert rotate(x, angles.cos(), angles.sin()).dtype == torch.bfloat16


def test_norm_divides_by_the_root_mean_square():
    norm = RMSNorm(5, eps=0.1).to(torch.float64)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(5.0))
    x = torch.randn(3, 5, dtype=torch.float64)
    expected = x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt() * torch.arange(5.0)
    torch.testing.assert_close(norm(x), expected)


def test_output_starts_smaller_in_deeper_models():
    def std(num_layers):
        scope = ModelScope(d_model=64, num_layers=num_layers, vocab_size=2, pools={})
        config = GqaConfig(num_heads=4, num_kv_heads=4, head_dim=16).resolved(64)
        module = GqaAttention(config, BuildContext(scope=scope, norm_eps=1e-5, pools={}))
        return module.initialisers()["output.weight"].std

    assert std(2) / std(8) == pytest.approx(2.0)


def test_context_carries_losses_by_name():
    context = ForwardContext(token_ids=torch.zeros(1, 1, dtype=torch.long))
    context.add_loss("load_balance", torch.tensor(1.0))
    context.add_loss("load_balance", torch.tensor(2.0))
    assert [loss.item() for loss in context.losses["load_balance"]] == [1.0, 2.0]
