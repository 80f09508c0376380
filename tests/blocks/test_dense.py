"""Dense blocks."""

from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from archspec.blocks.dense.config import DenseConfig
from archspec.testing.blocks import BlockContract, build_rig, random_input


class TestContract(BlockContract):
    cases: ClassVar = {
        "swiglu": DenseConfig(hidden_dim=51),
        "swiglu-bias": DenseConfig(hidden_dim=64, bias=True),
        "geglu": DenseConfig(hidden_dim=33, activation="geglu"),
        "gelu": DenseConfig(hidden_dim=17, activation="gelu"),
        "relu2-bias": DenseConfig(hidden_dim=80, activation="relu2", bias=True),
    }


@pytest.mark.parametrize("activation", ["swiglu", "geglu", "gelu", "relu2"])
def test_is_its_formula(activation):
    block = build_rig(DenseConfig(hidden_dim=7, activation=activation, bias=True)).block
    weights = {
        name: torch.randn_like(p) for name, p in block.named_parameters()
    }  # biases start at 0, which would hide them
    block.load_state_dict(weights)
    x = random_input(1, 4)
    up = x @ weights["up.weight"].T + weights["up.bias"]
    if activation in ("swiglu", "geglu"):
        gate = x @ weights["gate.weight"].T + weights["gate.bias"]
        inner = (gate * torch.sigmoid(gate) if activation == "swiglu" else F.gelu(gate)) * up
    elif activation == "gelu":
        inner = F.gelu(up)
    else:
        inner = up.clamp(min=0) ** 2
    expected = inner @ weights["down.weight"].T + weights["down.bias"]
    torch.testing.assert_close(block(x, None), expected)
