"""Multi-head latent attention against the equations of DeepSeek-V2, section 2.1."""

import math

import pytest
import torch

from archspec.blocks.base import CostContext, ModelScope
from archspec.blocks.module import BuildContext
from archspec.compiler.initialise import initialise
from archspec.model.attention.mla import MlaAttention
from archspec.model.rope import logit_scale, rotary_angles, rotate
from archspec.spec.attention.mla import MlaConfig
from archspec.spec.attention.rope import YarnScaling
from archspec.testing.blocks import SCOPE, context_of, random_input, saved_bytes_per_token

YARN = YarnScaling(type="yarn", factor=4.0, original_max_seq_len=8)


def config_of(**keys):
    sizes = {
        "num_heads": 3,
        "kv_lora_rank": 7,
        "nope_head_dim": 5,
        "rope_head_dim": 4,
        "value_head_dim": 6,
    }
    return MlaConfig(**{**sizes, **keys})


def build(config, dtype=torch.float64):
    module = MlaAttention(config, BuildContext(scope=SCOPE, norm_eps=1e-3, pools={})).to(dtype)
    initialise(module, seed=1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.linspace(-0.5, 0.7, len(parameter), dtype=dtype))
    return module


def normed(x, norm):
    return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight


def by_definition(module, x):
    config = module.config
    heads, nope, rope = config.num_heads, config.nope_head_dim, config.rope_head_dim
    seq = x.shape[1]
    angles = rotary_angles(
        torch.arange(seq)[None], rope, config.rope_theta, torch.float64, config.rope_scaling
    )
    cos, sin = angles.cos(), angles.sin()
    latent_query = x
    if config.q_lora_rank is not None:
        latent_query = normed(x @ module.query_down.weight.T, module.query_norm)
    query = (latent_query @ module.query.weight.T).unflatten(-1, (heads, nope + rope))
    down = x @ module.latent.weight.T
    latent = normed(down[..., : config.kv_lora_rank], module.latent_norm)
    shared = rotate(down[..., None, config.kv_lora_rank :], cos, sin)[:, :, 0]
    up = module.key_value.weight.unflatten(0, (heads, nope + config.value_head_dim))
    key = torch.einsum("btc,hkc->bthk", latent, up[:, :nope])
    value = torch.einsum("btc,hvc->bthv", latent, up[:, nope:])
    scores = torch.einsum("bshk,bthk->bhst", query[..., :nope], key)
    turned = rotate(query[..., nope:], cos, sin)
    scores = scores + torch.einsum("bshr,btr->bhst", turned, shared)
    scores = scores * logit_scale(config.rope_scaling) / math.sqrt(nope + rope)
    visible = torch.ones(seq, seq, dtype=torch.bool).tril()
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    return torch.einsum("bhst,bthv->bshv", weights, value).flatten(2) @ module.output.weight.T


@pytest.mark.parametrize(
    "keys",
    [{}, {"q_lora_rank": 8}, {"num_heads": 1, "value_head_dim": 9}, {"rope_scaling": YARN}],
    ids=str,
)
def test_is_the_equations(keys):
    module, x = build(config_of(**keys)), random_input(2, 11)
    torch.testing.assert_close(module(x, context_of(x)), by_definition(module, x))


@pytest.mark.parametrize("keys", [{}, {"q_lora_rank": 8}], ids=str)
def test_activation_bytes_are_what_autograd_saves(keys):
    """With equal widths of queries and values, where torch has a kernel that keeps no weights."""
    config = config_of(value_head_dim=9, **keys)
    context = CostContext(scope=SCOPE, seq_len=24, activation_element_bytes=4)
    priced = config.cost(context).activation_bytes_per_token
    assert priced == pytest.approx(saved_bytes_per_token(build(config, torch.float32)), rel=0.1)


def test_deepseek_v3():
    """187,107,328 parameters a layer; the cache keeps 576 elements a token."""
    config = MlaConfig(
        num_heads=128,
        q_lora_rank=1536,
        kv_lora_rank=512,
        nope_head_dim=128,
        rope_head_dim=64,
        value_head_dim=128,
    )
    scope = ModelScope(d_model=7168, num_layers=61, vocab_size=129_280, pools={})
    cost = config.cost(CostContext(scope=scope, seq_len=4096))
    assert cost.num_params == 187_107_328
    assert cost.kv_bytes_per_token == 2 * 576
