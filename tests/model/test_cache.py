"""The cache: what it gives is the full forward, what it takes is the price."""

import pytest
import torch

from archspec.blocks.module import ForwardContext
from archspec.compiler.build import build
from archspec.compiler.compile import compile
from archspec.cost.cache import kv_cache_bytes
from archspec.cost.summary import summarize
from archspec.errors import ArchspecError
from archspec.model.attention.visible import document_mask
from archspec.model.cache import KVCache
from archspec.model.generate import generate
from archspec.quantities import DTYPE_BYTES
from archspec.testing.specs import load_document, random_spec

ATTENTION = {
    "multi-head": {"num_heads": 3},
    "grouped": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6, "qk_norm": "head", "bias": "all"},
    "no positions": {"num_heads": 3, "rope_theta": None},
    "yarn": {
        "num_heads": 3,
        "rope_dim": 4,
        "rope_scaling": {"type": "yarn", "factor": 4, "original_max_seq_len": 8},
    },
    "window 1": {"num_heads": 3, "window": 1},
    "window 4": {"num_heads": 3, "window": 4},
    "window of all": {"num_heads": 3, "window": 100},
    "latent": {
        "type": "mla",
        "num_heads": 3,
        "q_lora_rank": 6,
        "kv_lora_rank": 7,
        "nope_head_dim": 5,
        "rope_head_dim": 4,
        "value_head_dim": 6,
    },
    "none": {"type": "none"},
    "mixed": {
        "full": {"num_heads": 3},
        "local": {"num_heads": 2, "window": 3},
        "latent": {
            "type": "mla",
            "num_heads": 2,
            "kv_lora_rank": 5,
            "nope_head_dim": 4,
            "rope_head_dim": 2,
            "value_head_dim": 3,
        },
        "none": {"type": "none"},
    },
}
TOKENS = torch.randint(0, 31, (2, 17), generator=torch.Generator().manual_seed(0))


def spec_of(attention, **keys):
    layers = {"num_layers": 4, "default": "ffn"}
    if "full" in attention:
        layers["attention"] = {"place": {"local": [1], "latent": [2], "none": [3]}}
    return load_document(
        {
            "archspec": 1,
            "kind": "model",
            "vocab_size": 31,
            "max_seq_len": 20,
            "d_model": 24,
            "attention": attention,
            "blocks": {"ffn": {"type": "dense", "hidden_dim": 10}},
            "layers": layers,
            **keys,
        }
    )


def in_chunks(model, tokens, chunks, cache):
    logits, start = [], 0
    for size in chunks:
        part = tokens[:, start : start + size]
        logits.append(model(part, ForwardContext(token_ids=part, cache=cache)))
        start += size
    assert start == tokens.shape[1]
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize(
    "chunks",
    [[1] * 17, [11, *[1] * 6], [17], [3, 5, 1, 1, 6, 1], [2, 1, 1, 13]],
    ids=["tokens", "prefill and tokens", "prefill", "chunks", "few and many"],
)
@torch.no_grad()
def test_in_parts_is_the_full_forward(name, chunks):
    spec = spec_of(ATTENTION[name])
    model = compile(spec, dtype="float64")
    cache = KVCache(spec, batch=2, max_tokens=17, dtype=torch.float64)
    result = in_chunks(model, TOKENS, chunks, cache)
    torch.testing.assert_close(result, model(TOKENS), rtol=1e-12, atol=1e-12)
    assert cache.length == 17
    assert torch.equal(cache.token_ids, TOKENS)


@pytest.mark.parametrize("norm_position", ["post", "both"])
@torch.no_grad()
def test_in_parallel_layers_too(norm_position):
    spec = spec_of(ATTENTION["mixed"], parallel=True, norm_position=norm_position)
    model = compile(spec, dtype="float64")
    cache = KVCache(spec, batch=2, dtype=torch.float64)
    result = in_chunks(model, TOKENS, [9, *[1] * 8], cache)
    torch.testing.assert_close(result, model(TOKENS), rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("chunks", [[1] * 17, [3, 1, 2, 11]], ids=["tokens", "chunks"])
@torch.no_grad()
def test_blocks_that_look_back_get_the_ids_of_earlier_tokens(chunks):
    ngrams = {"type": "ngram", "orders": [2, 5], "slots": 13, "row_dim": 3}
    layers = {"num_layers": 2, "default": "ngrams"}
    spec = spec_of(ATTENTION["grouped"], blocks={"ngrams": ngrams}, layers=layers)
    model = compile(spec, dtype="float64")
    cache = KVCache(spec, batch=2, dtype=torch.float64)
    result = in_chunks(model, TOKENS, chunks, cache)
    torch.testing.assert_close(result, model(TOKENS), rtol=1e-12, atol=1e-12)


def test_a_reset_cache_is_a_new_one():
    spec = spec_of(ATTENTION["window 4"])
    model = compile(spec, dtype="float64")
    cache = KVCache(spec, batch=2, dtype=torch.float64)
    first = in_chunks(model, TOKENS, [12, 1, 1, 3], cache)
    cache.reset()
    assert torch.equal(in_chunks(model, TOKENS, [12, 1, 1, 3], cache), first)


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_bytes_are_what_is_allocated(dtype):
    for seed in range(60):
        spec = random_spec(seed)
        for tokens in {1, (spec.max_seq_len + 1) // 2, spec.max_seq_len}:
            cache = KVCache(
                spec, batch=3, max_tokens=tokens, dtype=getattr(torch, dtype), device="meta"
            )
            assert cache.num_bytes == 3 * kv_cache_bytes(spec, tokens, dtype)


def test_bytes_are_the_summary_s_unless_a_window_bounds_them():
    for name in ("grouped", "latent", "window of all", "none"):
        spec = spec_of(ATTENTION[name])
        total = summarize(spec).total.kv_bytes_per_token
        assert kv_cache_bytes(spec, 20) == 20 * total, name
    windowed = spec_of(ATTENTION["window 4"])
    total = summarize(windowed).total.kv_bytes_per_token
    assert kv_cache_bytes(windowed, 3) == 3 * total
    assert kv_cache_bytes(windowed, 20) == 4 * total


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((21,), "max_seq_len=20, but is 21"), ((0,), "but is 0"), ((4, "int8"), "but is 'int8'")],
)
def test_bytes_of_what_cannot_be(arguments, said):
    with pytest.raises(ValueError, match=said):
        kv_cache_bytes(spec_of(ATTENTION["grouped"]), *arguments)


def test_what_does_not_fit_is_refused():
    spec = spec_of(ATTENTION["grouped"])
    with pytest.raises(ArchspecError, match="max_seq_len=20, but is 21"):
        KVCache(spec, batch=1, max_tokens=21)
    model, cache = compile(spec), KVCache(spec, batch=2, max_tokens=10)
    model(TOKENS[:, :8], ForwardContext(token_ids=TOKENS[:, :8], cache=cache))
    for tokens in (TOKENS[:, :3], TOKENS[:1, :1]):
        with pytest.raises(ArchspecError, match="sequences of 10 tokens and holds 8"):
            model(tokens, ForwardContext(token_ids=tokens, cache=cache))
    assert cache.length == 8


def test_a_document_mask_beside_a_cache_is_refused():
    spec = spec_of(ATTENTION["grouped"])
    context = ForwardContext(
        token_ids=TOKENS,
        document_mask=document_mask(TOKENS),
        cache=KVCache(spec, batch=2),
    )
    with pytest.raises(ArchspecError, match="one document per row"):
        build(spec)(TOKENS, context)


@pytest.mark.parametrize("name", ["grouped", "window 4", "mixed"])
@torch.no_grad()
def test_generation_takes_the_likeliest_token_each_time(name):
    model = compile(spec_of(ATTENTION[name]), dtype="float64")
    expected = TOKENS[:, :6]
    for _ in range(14):
        expected = torch.cat((expected, model(expected)[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(generate(model, TOKENS[:, :6], 14), expected)


def test_generation_in_bfloat16_and_of_nothing():
    model = compile(spec_of(ATTENTION["mixed"]), dtype="bfloat16")
    assert generate(model, TOKENS, 3).shape == (2, 20)
    assert torch.equal(generate(model, TOKENS, 0), TOKENS)


def test_generation_beyond_the_model_is_refused():
    with pytest.raises(ArchspecError, match="max_seq_len=20, but is 21"):
        generate(compile(spec_of(ATTENTION["grouped"])), TOKENS, 4)
