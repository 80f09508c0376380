"""The books equal the built model, to the unit, on designs that nobody thought of."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

import archspec
from archspec.blocks.dense.config import DenseConfig
from archspec.blocks.memory.config import MemoryConfig
from archspec.blocks.moe.config import MoeConfig
from archspec.blocks.ngram.config import NgramConfig
from archspec.blocks.none.config import NoneConfig
from archspec.blocks.pool.config import PoolConfig
from archspec.blocks.registry import BLOCKS
from archspec.blocks.shared_pool.config import SharedPoolConfig
from archspec.cost import summary
from archspec.cost.verify import verify
from archspec.spec.attention.registry import ATTENTIONS
from archspec.spec.attention.rope import SCALINGS
from archspec.spec.layers import Centered, PlacedAttention, PlacedLayers, Placement, Rule
from archspec.spec.load import load_model
from archspec.spec.model import ModelDocument
from archspec.spec.resolve_attention import holds_templates
from archspec.testing.specs import load_document, random_document, random_spec

MODELS = Path(archspec.__file__).parent / "specs" / "models"
COUNT = 300
KINDS = {
    "dense": DenseConfig,
    "moe": MoeConfig,
    "memory": MemoryConfig,
    "shared_pool": SharedPoolConfig,
    "ngram": NgramConfig,
    "none": NoneConfig,
}


@pytest.mark.parametrize("start", range(0, COUNT, 50))
def test_config_equals_built_model(start):
    for seed in range(start, start + 50):
        found = verify(random_spec(seed))
        assert found.agrees, f"seed {seed}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("start", range(COUNT, 2000, 100))
def test_config_equals_built_model_on_many_more(start):
    for seed in range(start, start + 100):
        found = verify(random_spec(seed))
        assert found.agrees, f"seed {seed}: {found}"


def test_a_shipped_spec_agrees_at_full_length():
    found = verify(load_model(MODELS / "memory_plus_1.3b_16m.yaml"))
    assert found.agrees
    assert found.seq_len == 4096


def test_a_wrong_book_is_noticed(monkeypatch):
    spec = random_spec(0)
    assert not dataclasses.replace(verify(spec), counted_params=1).agrees
    honest = summary.layer_cost
    monkeypatch.setattr(
        summary,
        "layer_cost",
        lambda layer, context: (
            honest(layer, context) + dataclasses.replace(summary.FREE, flops_per_token=1)
        ),
    )
    found = verify(spec)
    assert not found.agrees
    assert found.counted_params == found.built_params


def test_a_sequence_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="max_seq_len"):
        verify(random_spec(0), seq_len=1000)


def off_default(document):
    """Yield what a document has off its default, in the blocks that its layers use."""
    yield from _changed("model", ModelDocument, document)
    spec = load_document(document)
    attention = document["attention"]
    templates = attention.values() if holds_templates(attention) else [attention]
    for template in templates:
        yield from _attention_keys(template)
    used = {layer.attention for layer in spec.layers}
    yield from (f"attention {config.type}" for config in used)
    yield "several attentions" if len(used) > 1 else "one attention"
    for block in {block for layer in spec.layers for block in layer.blocks}:
        yield f"uses {block.type}"
        yield from _changed(block.type, KINDS[block.type], block.model_dump())
    for pool in spec.pools.values():
        yield from _changed("pool", PoolConfig, pool.model_dump())
    if spec.graded_templates:
        yield "graded template"
    yield "tied" if spec.tie_embeddings else "untied"
    if spec.d_model % 2:
        yield "odd width"
    readers = Counter(
        block.pool_name for layer in spec.layers for block in layer.blocks if block.pool_name
    )
    if max(readers.values(), default=0) > 1:
        yield "pool with several readers"
    if any(len(layer.blocks) > 1 for layer in spec.layers):
        yield "sum of blocks"
    yield from _layer_forms(document["layers"])


def _attention_keys(template):
    config = ATTENTIONS[template.get("type", "gqa")]
    values = dict(template)
    if values.get("num_kv_heads") == values.get("num_heads"):
        values.pop("num_kv_heads", None)
    yield from _changed(template.get("type", "gqa"), config, values)
    scaling = template.get("rope_scaling")
    if scaling is not None:
        yield f"uses {scaling['type']}"
        yield from _changed(scaling["type"], SCALINGS[scaling["type"]], scaling)


def _layer_forms(layers):
    if isinstance(layers, list):
        for entry in layers:
            if isinstance(entry, dict):
                yield "repeat" if "repeat" in entry else "changed block"
                yield from _layer_forms(entry.get("layers", []))
                if "attention" in entry:
                    yield "attention of an entry"
                if isinstance(entry.get("hidden_dim"), dict):
                    yield "changed over depth"
        return
    for attention in [layers["attention"]] if "attention" in layers else []:
        yield from _changed("layers.attention", PlacedAttention, attention)
        for rule in attention.get("place", {}).values():
            yield from _changed("place", Rule, rule)
    yield from _changed("layers", PlacedLayers, layers)
    for rule in layers.get("place", {}).values():
        if isinstance(rule, list):
            yield "place.at"
            continue
        yield from _changed("place", Placement, rule)
        yield from _changed("centered", Centered, rule.get("centered", {}))


def _changed(prefix, schema, values):
    for name, field in schema.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if not field.is_required() and name != "type" and values.get(name, default) != default:
            yield f"{prefix}.{name}"


def test_the_random_specs_leave_no_key_at_its_default():
    schemas = {
        "model": ModelDocument,
        **ATTENTIONS,
        **SCALINGS,
        "layers": PlacedLayers,
        "layers.attention": PlacedAttention,
        "place": Placement,
        "centered": Centered,
        "pool": PoolConfig,
        **KINDS,
    }
    assert KINDS.keys() == BLOCKS.keys(), "a block kind without random specs"
    wanted = {
        f"{prefix}.{name}"
        for prefix, schema in schemas.items()
        for name, field in schema.model_fields.items()
        if not field.is_required() and name != "type"
    }
    wanted |= {f"uses {kind}" for kind in KINDS}
    wanted |= {"tied", "untied", "odd width", "pool with several readers", "sum of blocks"}
    wanted |= {"repeat", "changed block", "changed over depth", "graded template"}
    wanted |= {f"attention {kind}" for kind in ATTENTIONS} | {f"uses {kind}" for kind in SCALINGS}
    wanted |= {"several attentions", "attention of an entry"}
    seen = Counter(key for seed in range(COUNT) for key in set(off_default(random_document(seed))))
    rare = {key: seen[key] for key in wanted if seen[key] < 20}
    assert not rare
