"""The surface that users write against, frozen: a change here belongs in the changelog."""

import argparse

import archspec
from archspec.blocks.registry import BLOCKS
from archspec.spec.attention.registry import ATTENTIONS

PUBLIC_NAMES = ["__version__", "compile", "load_model", "summarize"]
BLOCK_KINDS = ["dense", "memory", "moe", "ngram", "none", "shared_pool"]
ATTENTION_TYPES = ["gqa", "mla", "none"]
COMMANDS = [
    "bench",
    "check",
    "compare",
    "curves",
    "diff",
    "doctor",
    "eval",
    "export",
    "hardware",
    "kinds",
    "plan",
    "race",
    "report",
    "schema",
    "search",
    "show",
    "study",
    "summary",
    "tokenize",
    "train",
]
DOCUMENT_KEYS = {
    "hardware": [
        "archspec",
        "kind",
        "link_bandwidth",
        "memory_bandwidth",
        "memory_bytes",
        "name",
        "network_bandwidth",
        "node_devices",
        "peak_flops",
        "source",
    ],
    "model": [
        "archspec",
        "attention",
        "blocks",
        "d_model",
        "kind",
        "layers",
        "max_seq_len",
        "name",
        "norm_eps",
        "norm_position",
        "parallel",
        "pools",
        "tie_embeddings",
        "vocab_size",
    ],
    "plan": [
        "archspec",
        "compile",
        "hardware",
        "kind",
        "mesh",
        "name",
        "pools",
        "precision",
        "recompute",
        "tables",
    ],
    "search": [
        "archspec",
        "base",
        "budgets",
        "finalists",
        "hand_finalists",
        "hardware",
        "kind",
        "objective",
        "plan",
        "proxy",
        "rungs",
        "sampler",
        "seed",
        "trials",
        "vary",
        "world_size",
    ],
    "train": [
        "archspec",
        "batch_tokens",
        "checkpoint",
        "data",
        "evaluation",
        "guard",
        "kind",
        "losses",
        "micro_batch_tokens",
        "optimizer",
        "schedule",
        "seed",
        "seq_len",
        "tokens",
        "watch",
    ],
}


def test_public_names() -> None:
    assert sorted(archspec.__all__) == PUBLIC_NAMES
    for name in PUBLIC_NAMES:
        assert getattr(archspec, name) is not None


def test_block_kinds() -> None:
    assert sorted(BLOCKS) == BLOCK_KINDS


def test_attention_types() -> None:
    assert sorted(ATTENTIONS) == ATTENTION_TYPES


def test_commands() -> None:
    from archspec.cli.parser import build_parser

    (commands,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert sorted(commands.choices) == COMMANDS


def test_document_keys() -> None:
    from archspec.spec.documents import DOCUMENTS

    assert {kind: sorted(model.model_fields) for kind, model in DOCUMENTS.items()} == DOCUMENT_KEYS
