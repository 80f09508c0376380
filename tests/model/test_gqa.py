"""Every key of grouped-query attention against its definition."""

import math

import pytest
import torch

from archspec.blocks.base import CostContext
from archspec.blocks.module import BuildContext
from archspec.compiler.initialise import initialise
from archspec.model.attention.gqa import GqaAttention
from archspec.model.attention.visible import document_mask
from archspec.model.rope import logit_scale, rotary_angles, rotate, stretch
from archspec.spec.attention.gqa import GqaConfig
from archspec.spec.attention.rope import LinearScaling, Llama3Scaling, YarnScaling
from archspec.testing.blocks import SCOPE, context_of, random_input, saved_bytes_per_token

SEQ = 9
CAUSAL = torch.ones(SEQ, SEQ, dtype=torch.bool).tril()
YARN = YarnScaling(type="yarn", factor=8.0, original_max_seq_len=16)


def config_of(**keys):
    return GqaConfig(**{"num_heads": 4, "num_kv_heads": 2, "head_dim": 6, **keys}).resolved(45)


def build(config, dtype=torch.float64):
    module = GqaAttention(config, BuildContext(scope=SCOPE, norm_eps=1e-3, pools={})).to(dtype)
    initialise(module, seed=3)
    with torch.no_grad():  # biases and norms start where they do nothing
        for index, parameter in enumerate(module.parameters()):
            if parameter.dim() == 1:
                parameter.add_(torch.linspace(-0.5, 0.7 + index, len(parameter), dtype=dtype))
    return module


def normed(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight


def turned(x, config):
    """Rotary positions by complex numbers, on [batch, seq, heads, head_dim]."""
    if config.rope_theta is None:
        return x
    half = config.rope_dim // 2
    frequencies = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    if config.rope_scaling is not None:
        frequencies = frequencies * stretch(frequencies, config.rope_scaling)
    angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None, None] * frequencies
    rotor = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half]) * rotor
    return torch.cat((pairs.real, pairs.imag, x[..., 2 * half :]), dim=-1)


def by_definition(module, x, visible=CAUSAL):
    config = module.config
    heads, kv_heads, head_dim = config.shape
    query, key, value = (
        x @ projection.weight.T + (0 if projection.bias is None else projection.bias)
        for projection in (module.query, module.key, module.value)
    )
    if config.qk_norm == "full":
        query, key = (
            normed(query, module.query_norm.weight),
            normed(key, module.key_norm.weight),
        )
    query, key, value = (part.unflatten(-1, (-1, head_dim)) for part in (query, key, value))
    if config.qk_norm == "head":
        query, key = (
            normed(query, module.query_norm.weight),
            normed(key, module.key_norm.weight),
        )
    query, key = turned(query, config), turned(key, config)
    scale = logit_scale(config.rope_scaling) / math.sqrt(head_dim)
    outputs = []
    for head in range(heads):
        group = head * kv_heads // heads
        scores = query[:, :, head] @ key[:, :, group].mT * scale
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        outputs.append(weights @ value[:, :, group])
    result = torch.cat(outputs, dim=-1) @ module.output.weight.T
    return result if module.output.bias is None else result + module.output.bias


@pytest.mark.parametrize(
    "keys",
    [
        {"bias": "qkv"},
        {"bias": "all"},
        {"qk_norm": "head"},
        {"qk_norm": "full"},
        {"rope_theta": None},
        {"rope_dim": 2},
        {"head_dim": 7, "rope_dim": 4},
        {"head_dim": 7, "rope_theta": None},
        {"rope_scaling": YARN, "rope_theta": 50.0},
        {"num_kv_heads": None, "bias": "all", "qk_norm": "full", "rope_dim": 4},
    ],
    ids=str,
)
def test_each_key_is_its_definition(keys):
    module, x = build(config_of(**keys)), random_input(2, SEQ)
    torch.testing.assert_close(module(x, context_of(x)), by_definition(module, x))


@pytest.mark.parametrize("window", [1, 2, 4, 8, 9, 10, 1000])
def test_a_window_is_a_mask(window):
    module, x = build(config_of(window=window)), random_input(2, SEQ)
    distance = torch.arange(SEQ)[:, None] - torch.arange(SEQ)
    visible = (distance >= 0) & (distance < window)
    torch.testing.assert_close(module(x, context_of(x)), by_definition(module, x, visible))


def test_a_window_ends_at_the_document_too():
    module, x = build(config_of(window=3)), random_input(1, SEQ)
    context = context_of(x)
    context.document_mask = document_mask(torch.tensor([[0] * 5 + [1] * 4]))
    distance = torch.arange(SEQ)[:, None] - torch.arange(SEQ)
    visible = context.document_mask[0, 0] & (distance < 3)
    torch.testing.assert_close(module(x, context), by_definition(module, x, visible))


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"window": 5},
        {"qk_norm": "head", "bias": "all"},
        {"qk_norm": "full", "rope_theta": None},
        {"rope_dim": 2},
    ],
    ids=str,
)
def test_activation_bytes_are_what_autograd_saves(keys):
    config = config_of(**keys)
    context = CostContext(scope=SCOPE, seq_len=24, activation_element_bytes=4)
    priced = config.cost(context).activation_bytes_per_token
    assert priced == pytest.approx(saved_bytes_per_token(build(config, torch.float32)), rel=0.1)


def test_angles_by_hand():
    """dim 4, theta 100: pairs turn by 1 and 0.1 a position."""
    angles = rotary_angles(torch.tensor([[0, 3]]), 4, 100.0, torch.float64)
    expected = torch.tensor([[0.0, 0.0], [3.0, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(angles[0, :, 0], expected)


def test_linear_scaling_by_hand():
    scaling = LinearScaling(type="linear", factor=4.0)
    angles = rotary_angles(torch.tensor([[8]]), 4, 100.0, torch.float64, scaling)
    torch.testing.assert_close(angles.flatten(), torch.tensor([2.0, 0.2], dtype=torch.float64))


@pytest.mark.parametrize(
    ("turns", "factor"),
    [
        (0.5, 1 / 8),  # never came round: slowed by the whole factor
        (1.0, 1 / 8),
        (2.5, 1 / 2 + 1 / 2 / 8),  # halfway between 1 and 4
        (4.0, 1.0),
        (100.0, 1.0),
    ],
)
def test_llama3_scaling_by_hand(turns, factor):
    scaling = Llama3Scaling(type="llama3", factor=8.0, original_max_seq_len=8192)
    frequency = torch.tensor([turns * 2 * math.pi / 8192], dtype=torch.float64)
    assert stretch(frequency, scaling).item() == pytest.approx(factor)


def test_yarn_by_hand():
    frequency = torch.tensor([16.5 * 2 * math.pi / 16], dtype=torch.float64)
    assert stretch(frequency, YARN).item() == pytest.approx(1 / 2 + 1 / 2 / 8)
    assert logit_scale(YARN) == pytest.approx((0.1 * math.log(8) + 1) ** 2)
    assert logit_scale(YARN.model_copy(update={"logit_scale": 1.5})) == 1.5
    assert logit_scale(None) == 1.0


def test_llama_3_1_frequencies():
    """The slowest pair of Llama 3.1 turns 8 times slower, the fastest as before."""
    scaling = Llama3Scaling(type="llama3", factor=8.0, original_max_seq_len=8192)
    position = torch.tensor([[1]])
    plain = rotary_angles(position, 128, 5e5, torch.float64).flatten()
    scaled = rotary_angles(position, 128, 5e5, torch.float64, scaling).flatten()
    ratio = scaled / plain
    assert ratio[0] == 1
    assert ratio[-1].item() == pytest.approx(1 / 8)
    assert (ratio.diff() <= 1e-12).all()
    # Pair i turns 8192 / (2 pi 5e5 ** (i / 64)) times: over 4 up to i = 28, under 1 from 35 on.
    assert (ratio[:29] == 1).all()
    assert (ratio[35:] - 1 / 8).abs().max() < 1e-12
    assert ((ratio[29:35] > 1 / 8) & (ratio[29:35] < 1)).all()


def test_elements_that_do_not_turn_stay():
    x = torch.randn(1, 3, 2, 7, dtype=torch.float64)
    angles = rotary_angles(torch.arange(3)[None], 4, 1e4, torch.float64)
    result = rotate(x, angles.cos(), angles.sin())
    assert torch.equal(result[..., 4:], x[..., 4:])
    torch.testing.assert_close(result[..., :4], rotate(x[..., :4], angles.cos(), angles.sin()))
