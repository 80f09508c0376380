"""Where a layer's norms stand, and what reads what."""

import pytest
import torch

from archspec.blocks.module import ForwardContext
from archspec.compiler.compile import compile
from archspec.testing.specs import load_document

TOKENS = torch.randint(0, 13, (2, 7), generator=torch.Generator().manual_seed(0))
BRANCHES = ("attention", "block")


def model_of(*, attention=None, layers=("ffn",), **keys):
    spec = load_document(
        {
            "archspec": 1,
            "kind": "model",
            "vocab_size": 13,
            "max_seq_len": 8,
            "d_model": 12,
            "attention": attention or {"num_heads": 3},
            "blocks": {
                "ffn": {"type": "dense", "hidden_dim": 10},
                "wide": {"type": "dense", "hidden_dim": 14, "activation": "gelu"},
            },
            "layers": list(layers),
            **keys,
        }
    )
    model = compile(spec, dtype="float64")
    with torch.no_grad():  # norms start where they only divide
        for index, parameter in enumerate(model.parameters()):
            if parameter.dim() == 1:
                parameter.add_(torch.linspace(-0.3, 0.2 * index, len(parameter)))
    return model


def run(model):
    layer = model.layers[0]
    x = model.embedding(TOKENS)
    context = ForwardContext(token_ids=TOKENS)
    return layer, x, context, layer(x, context)


def norm_names(model):
    names = (name.split(".") for name, _ in model.layers[0].named_parameters())
    return [name[0] for name in names if name[0].endswith("norm")]


def test_norm_before():
    model = model_of()
    layer, x, context, result = run(model)
    assert norm_names(model) == ["attention_norm", "block_norm"]
    x = x + layer.attention(layer.attention_norm(x), context)
    torch.testing.assert_close(result, x + layer.blocks[0](layer.block_norm(x), context))


def test_norm_after():
    model = model_of(norm_position="post", layers=[["ffn", "wide"]])
    layer, x, context, result = run(model)
    assert norm_names(model) == ["attention_post_norm", "block_post_norm"]
    x = x + layer.attention_post_norm(layer.attention(x, context))
    changes = layer.blocks[0](x, context) + layer.blocks[1](x, context)
    torch.testing.assert_close(result, x + layer.block_post_norm(changes))


def test_norm_before_and_after():
    model = model_of(norm_position="both")
    layer, x, context, result = run(model)
    assert len(norm_names(model)) == 4
    attended = layer.attention(layer.attention_norm(x), context)
    x = x + layer.attention_post_norm(attended)
    change = layer.blocks[0](layer.block_norm(x), context)
    torch.testing.assert_close(result, x + layer.block_post_norm(change))


def test_parallel():
    model = model_of(parallel=True, layers=[["ffn", "wide"]])
    layer, x, context, result = run(model)
    assert norm_names(model) == ["norm"]
    normed = layer.norm(x)
    changes = [block(normed, context) for block in layer.blocks]
    torch.testing.assert_close(result, x + layer.attention(normed, context) + sum(changes))


def test_parallel_norm_after_is_of_the_sum():
    model = model_of(parallel=True, norm_position="post")
    layer, x, context, result = run(model)
    assert norm_names(model) == ["post_norm"]
    changes = layer.attention(x, context) + layer.blocks[0](x, context)
    torch.testing.assert_close(result, x + layer.post_norm(changes))


@pytest.mark.parametrize("parallel", [False, True])
def test_without_attention_there_is_no_norm_for_it(parallel):
    model = model_of(attention={"type": "none"}, parallel=parallel)
    layer, x, context, result = run(model)
    assert norm_names(model) == ["norm" if parallel else "block_norm"]
    assert layer.attention is None
    norm = layer.norm if parallel else layer.block_norm
    torch.testing.assert_close(result, x + layer.blocks[0](norm(x), context))


def test_tokens_of_a_model_without_attention_do_not_see_each_other():
    model = model_of(attention={"type": "none"})
    changed = TOKENS.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 13
    torch.testing.assert_close(model(changed)[:, 1:], model(TOKENS)[:, 1:])


def test_attention_differs_by_layer():
    attention = {"full": {"num_heads": 3}, "none": {"type": "none"}, "local": {"num_heads": 2}}
    layers = ["ffn", {"block": "ffn", "attention": "none"}, {"block": "ffn", "attention": "local"}]
    model = model_of(attention=attention, layers=layers)
    found = [layer.attention for layer in model.layers]
    assert found[1] is None
    assert [found[0].config.num_heads, found[2].config.num_heads] == [3, 2]
