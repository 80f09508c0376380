"""The whole model: names, causality, dtypes, recorders."""

import pytest
import torch

from archspec.blocks.module import ForwardContext
from archspec.blocks.usage import UsageRecorder
from archspec.compiler.compile import compile
from archspec.errors import ArchspecError
from archspec.testing.specs import load_document, random_spec

DOCUMENT = {
    "archspec": 1,
    "kind": "model",
    "vocab_size": 37,
    "max_seq_len": 16,
    "d_model": 24,
    "attention": {"num_heads": 4, "num_kv_heads": 2},
    "pools": {"values": {"num_keys": 6, "value_dim": 10}},
    "blocks": {
        "ffn": {"type": "dense", "hidden_dim": 40},
        "experts": {
            "type": "moe",
            "num_experts": 4,
            "top_k": 2,
            "hidden_dim": 9,
            "num_shared_experts": 1,
        },
        "private": {
            "type": "memory",
            "num_keys": 5,
            "value_dim": 24,
            "num_heads": 2,
            "top_k": 3,
            "key_dim": 8,
        },
        "shared": {
            "type": "shared_pool",
            "pool": "values",
            "num_heads": 2,
            "top_k": 3,
            "key_dim": 8,
            "gate": "swilu",
            "qk_norm": True,
        },
    },
    "layers": ["ffn", ["experts", "private"], "shared"],
}
SPEC = load_document(DOCUMENT)
TOKENS = torch.randint(0, 37, (3, 11), generator=torch.Generator().manual_seed(0))

ATTENTION = [f"attention.{name}.weight" for name in ("query", "key", "value", "output")]
BLOCKS = [
    ["blocks.0.gate.weight", "blocks.0.up.weight", "blocks.0.down.weight"],
    [
        "blocks.0.router.weight",
        "blocks.0.experts.gate",
        "blocks.0.experts.up",
        "blocks.0.experts.down",
        "blocks.0.shared.gate.weight",
        "blocks.0.shared.up.weight",
        "blocks.0.shared.down.weight",
        "blocks.1.codebooks",
        "blocks.1.query.weight",
        "blocks.1.query.bias",
        "blocks.1.values.weight",
    ],
    [
        "blocks.0.codebooks",
        "blocks.0.query_norm",
        "blocks.0.key_norm",
        "blocks.0.query.weight",
        "blocks.0.query.bias",
        "blocks.0.gate.weight",
        "blocks.0.gate.bias",
        "blocks.0.output.weight",
        "blocks.0.output.bias",
    ],
]


def test_parameter_names_are_frozen():
    """Checkpoints hold them."""
    layers = [
        f"layers.{index}.{name}"
        for index, names in enumerate(BLOCKS)
        for name in ["attention_norm.weight", "block_norm.weight", *ATTENTION, *names]
    ]
    outside = ["embedding.weight", "norm.weight", "head.weight", "pools.values.weight"]
    assert compile(SPEC, device="meta").state_dict().keys() == {*layers, *outside}


def test_a_tied_head_is_the_embedding():
    tied = load_document({**DOCUMENT, "tie_embeddings": True})
    model = compile(tied, dtype="float64")
    assert "head.weight" not in model.state_dict()
    untied = compile(SPEC, dtype="float64")
    untied.load_state_dict({**model.state_dict(), "head.weight": model.embedding.weight})
    assert torch.equal(model(TOKENS), untied(TOKENS))


def test_the_future_changes_nothing():
    model = compile(SPEC, dtype="float64")
    before = model(TOKENS)
    changed = TOKENS.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 37
    after = model(changed)
    torch.testing.assert_close(after[:, :7], before[:, :7])
    assert not torch.allclose(after[:, 7:], before[:, 7:])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1), ("float16", 0.02)]
)
def test_dtypes_agree(dtype, tolerance):
    exact = compile(random_dense(), dtype="float64")(TOKENS)
    logits = compile(random_dense(), dtype=dtype)(TOKENS)
    assert logits.dtype == getattr(torch, dtype)
    error = (logits.double() - exact).norm() / exact.norm()
    assert error < tolerance


def random_dense():
    """Without selection, which rounding may tip over."""
    blocks = {"ffn": DOCUMENT["blocks"]["ffn"]}
    document = {**DOCUMENT, "blocks": blocks, "layers": ["ffn", "ffn"]}
    document.pop("pools")
    return load_document(document)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_trains_in(dtype):
    model = compile(SPEC, dtype=dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(15):
        logits = model(TOKENS[:, :-1]).flatten(0, 1).float()
        loss = torch.nn.functional.cross_entropy(logits, TOKENS[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_first_logits_are_moderate():
    """A loss near log(vocab_size) at the start, tied or not."""
    for tied in (False, True):
        model = compile(load_document({**DOCUMENT, "tie_embeddings": tied}))
        assert 0.5 < model(TOKENS).std().item() < 2.0


def test_recorders_are_filled_when_given():
    model = compile(SPEC)
    usage = UsageRecorder(model)
    context = ForwardContext(token_ids=TOKENS, usage=usage)
    model(TOKENS, context)
    totals = {name: int(counts.sum()) for name, counts in usage.counts.items()}
    assert totals == {
        "layers.1.blocks.0.experts": 33 * 2,
        "layers.1.blocks.1.values": 33 * 2 * 3,
        "pools.values": 33 * 2 * 3,
    }
    assert len(context.losses["load_balance"]) == 1


def test_a_context_without_recorders_changes_nothing():
    model = compile(SPEC)
    usage = UsageRecorder(model)
    recorded = model(TOKENS, ForwardContext(token_ids=TOKENS, usage=usage))
    assert torch.equal(model(TOKENS), recorded)


@pytest.mark.parametrize("seed", range(12))
def test_random_models_run_and_train(seed):
    spec = random_spec(seed)
    model = compile(spec, dtype="float64", seed=seed)
    tokens = torch.randint(0, spec.vocab_size, (2, spec.max_seq_len))
    logits = model(tokens)
    assert logits.shape == (2, spec.max_seq_len, spec.vocab_size)
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # a routing bias
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_pool_named_like_a_module_method_is_refused():
    pools = {"half": DOCUMENT["pools"]["values"]}
    shared = {**DOCUMENT["blocks"]["shared"], "pool": "half"}
    document = {**DOCUMENT, "pools": pools, "blocks": {**DOCUMENT["blocks"], "shared": shared}}
    with pytest.raises(ArchspecError, match=r"pools\.half: .* rename the pool"):
        compile(load_document(document))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_other_tools_can_trace_a_model():
    """Counters such as fvcore run a model under torch.jit, where sizes are tensors."""
    dense = load_document({**DOCUMENT, "pools": {}, "layers": ["ffn"], "blocks": {
        "ffn": {"type": "dense", "hidden_dim": 40},
    }})  # fmt: skip
    model = compile(dense)
    traced = torch.jit.trace(model, (TOKENS,), check_trace=False)
    torch.testing.assert_close(traced(TOKENS), model(TOKENS))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_likelihoods_where_counted_are_those_of_all_positions(share):
    model = compile(SPEC, dtype="float64")
    targets = TOKENS.roll(-1, dims=1)
    counted = torch.rand(TOKENS.shape, generator=torch.Generator().manual_seed(1)) < share
    shapes = []
    logits = model.vocabulary.logits
    model.vocabulary.logits = lambda x, weight: (shapes.append(len(x)), logits(x, weight))[1]
    everywhere = model.nll(TOKENS, targets)
    chosen = model.nll(TOKENS, targets, counted=counted)
    assert shapes == [TOKENS.numel(), int(counted.sum())]
    torch.testing.assert_close(chosen, everywhere[counted])
    (everywhere * counted).sum().backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    chosen.sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])
