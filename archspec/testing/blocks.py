"""The contract every block kind passes, ours and those of other distributions."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from archspec.blocks.base import BlockConfig, CostContext, ModelScope
from archspec.blocks.module import Block, BuildContext, ForwardContext
from archspec.blocks.pool.config import PoolConfig
from archspec.blocks.pool.module import Pool
from archspec.blocks.registry import module_class
from archspec.blocks.table import Table
from archspec.compiler.initialise import find_initialisers, initialise
from archspec.quantities import FREE

SCOPE = ModelScope(
    d_model=45,
    num_layers=3,
    vocab_size=11,
    pools={
        "wide": PoolConfig(num_keys=9, value_dim=70),
        "equal": PoolConfig(num_keys=13, value_dim=45),
        "experts": PoolConfig(num_keys=8, value_dim=50, expert="rank1"),
    },
)
ACTIVATION_TOLERANCE = 0.1  # our own blocks are exact; promised is this


class Rig(nn.Module):
    """One block and the pools of its model."""

    def __init__(self, config: BlockConfig, scope: ModelScope = SCOPE) -> None:
        super().__init__()
        pools = {name: Pool(pool, d_model=scope.d_model) for name, pool in scope.pools.items()}
        self.pools = nn.ModuleDict(pools)
        build = BuildContext(scope=scope, norm_eps=1e-5, pools=pools)
        self.block: Block = module_class(config.type)(config, build)

    def forward(self, x: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Run the block alone."""
        if context is None:
            context = context_of(x)
        result: Tensor = self.block(x, context)
        return result


def build_rig(
    config: BlockConfig, *, scope: ModelScope = SCOPE, dtype: torch.dtype = torch.float64
) -> Rig:
    """Build and initialise a block as the compiler does."""
    with torch.device("meta"):
        rig = Rig(config, scope).to(dtype)
    rig.to_empty(device="cpu")
    initialise(rig, seed=0)
    return rig


def context_of(x: Tensor) -> ForwardContext:
    """Return a plain context for activations [batch, seq, d_model]; token ids are random."""
    return ForwardContext(token_ids=random_token_ids(*x.shape[:2]).to(x.device))


def random_token_ids(batch: int, seq: int) -> Tensor:
    """Return token ids, [batch, seq]."""
    generator = torch.Generator().manual_seed(batch * 1000 + seq)
    return torch.randint(0, SCOPE.vocab_size, (batch, seq), generator=generator)


def random_input(batch: int, seq: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return activations as a norm would give them, [batch, seq, d_model]."""
    generator = torch.Generator().manual_seed(batch * 1000 + seq)
    return torch.randn(batch, seq, SCOPE.d_model, dtype=dtype, generator=generator)


def saved_bytes_per_token(module: nn.Module, seq: int = 24) -> float:
    """Measure what autograd keeps per token in fp32, parameters excluded.

    The difference between two batch sizes, so that what does not grow with the tokens drops out.
    """
    small, large = (_saved_bytes(module, batch, seq) for batch in (2, 6))
    return (large - small) / (4 * seq)


def _saved_bytes(module: nn.Module, batch: int, seq: int) -> int:
    parameters = {p.untyped_storage().data_ptr() for p in module.parameters()}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = random_input(batch, seq, torch.float32).requires_grad_()
    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = x + module(x, context_of(x))  # holds the graph, hence the storages
    assert result.requires_grad
    return sum(storages.values())


class BlockContract(ABC):
    """Inherit, declare ``cases``, and get the tests; each runs once per case.

    The cases live in a model with ``SCOPE``: odd widths, a pool as wide as the model beside one
    that is not, and a pool of rank-1 experts.
    """

    cases: ClassVar[Mapping[str, BlockConfig]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Hand every case to every test that takes a ``config``."""
        if "config" in metafunc.fixturenames:
            metafunc.parametrize("config", self.cases.values(), ids=self.cases.keys())

    def cost_context(self) -> CostContext:
        """Return fp32 conventions."""
        return CostContext(
            scope=SCOPE, seq_len=5, table_element_bytes=4, activation_element_bytes=4
        )

    def test_is_valid(self, config: BlockConfig) -> None:
        """The case breaks no rule of its own."""
        assert list(config.check(SCOPE)) == []
        assert config.size()

    def test_price_equals_what_is_built(self, config: BlockConfig) -> None:
        """Parameters and FLOPs by the config are those of the module, to the unit."""
        with torch.device("meta"):
            rig = Rig(config)
            x = torch.empty(3, 5, SCOPE.d_model)
        with FlopCounterMode(display=False) as counter:
            rig(x)
        cost = config.cost(self.cost_context())
        tables = (m for m in rig.block.modules() if isinstance(m, Table))
        rows = sum(p.numel() for table in tables for p in table.parameters(recurse=False))
        assert cost.num_params == sum(p.numel() for p in rig.block.parameters())
        assert cost.num_table_params == rows
        assert cost.flops_per_token * 15 == counter.get_total_flops()

    def test_an_identity_says_so(self, config: BlockConfig) -> None:
        """Only a block without effect is declared one, and it is free."""
        x = random_input(2, 3)
        assert config.is_identity == (not build_rig(config)(x).any())
        assert not config.is_identity or config.cost(self.cost_context()) == FREE

    def test_activation_bytes_are_what_autograd_saves(self, config: BlockConfig) -> None:
        """The price of activations is within 10% of a measurement."""
        rig = build_rig(config, dtype=torch.float32)
        measured = saved_bytes_per_token(rig)
        priced = config.cost(self.cost_context()).activation_bytes_per_token
        assert priced == pytest.approx(measured, rel=ACTIVATION_TOLERANCE)

    def test_every_parameter_has_an_initialiser(self, config: BlockConfig) -> None:
        """Nothing is left as memory was found."""
        with torch.device("meta"):
            rig = Rig(config)
        assert find_initialisers(rig).keys() == {name for name, _ in rig.named_parameters()}

    def test_gradients_reach_every_parameter(self, config: BlockConfig) -> None:
        """Forward and backward give finite gradients everywhere."""
        rig = build_rig(config)
        x = random_input(2, 9).requires_grad_()
        (x + rig(x)).square().sum().backward()
        tensors = {"x": x, **dict(rig.block.named_parameters())}
        if config.pool_name is not None:
            tensors |= dict(rig.pools[config.pool_name].named_parameters())
        for name, tensor in tensors.items():
            if not tensor.requires_grad:
                continue  # a parameter that the block declares not to be trained by gradients
            assert tensor.grad is not None, f"{name} has no gradient"
            assert tensor.grad.isfinite().all(), f"{name} has a gradient that is not finite"

    def test_trains_under_autocast(self, config: BlockConfig) -> None:
        """Mixed dtypes meet in no op; parameters get finite gradients of their own dtype."""
        rig = build_rig(config, dtype=torch.float32)
        x = random_input(2, 9, torch.float32).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            result = rig(x)
        (x + result).square().sum().backward()
        for tensor in (x, *(p for p in rig.block.parameters() if p.requires_grad)):
            assert tensor.grad is not None
            assert tensor.grad.dtype == torch.float32
            assert tensor.grad.isfinite().all()

    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (4, 3)])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_keeps_shape_and_dtype(
        self, config: BlockConfig, shape: tuple[int, int], dtype: torch.dtype
    ) -> None:
        """The change has the shape and dtype of the stream."""
        x = random_input(*shape, dtype)
        result = build_rig(config, dtype=dtype)(x)
        assert (result.shape, result.dtype) == (x.shape, x.dtype)
        assert result.isfinite().all()

    def test_a_token_sees_no_more_than_its_lookback(self, config: BlockConfig) -> None:
        """Other tokens change nothing, but for the ids of the ``lookback`` before it."""
        rig, seq = build_rig(config), config.lookback + 6
        place = (1, config.lookback + 2)
        x, ids = random_input(3, seq), random_token_ids(3, seq)
        others, other_ids = random_input(4, seq)[:3], (ids + 1) % SCOPE.vocab_size
        others[place] = x[place]
        reach = (1, slice(place[1] - config.lookback, place[1] + 1))
        other_ids[reach] = ids[reach]
        result = rig(others, ForwardContext(token_ids=other_ids))[place]
        expected = rig(x, ForwardContext(token_ids=ids))[place]
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)

    def test_a_pass_in_parts_equals_a_pass_in_one(self, config: BlockConfig) -> None:
        """Decoding token by token gives what the whole sequence gives."""
        rig, x = build_rig(config), random_input(2, 7)
        ids = random_token_ids(2, 7)
        parts = []
        for end in range(1, 8):
            earlier = ids[:, max(0, end - 1 - config.lookback) : end - 1]
            context = ForwardContext(token_ids=ids[:, end - 1 : end], earlier_token_ids=earlier)
            parts.append(rig(x[:, end - 1 : end], context))
        whole = rig(x, ForwardContext(token_ids=ids))
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-12, atol=1e-12)

    def test_instances_share_nothing(self, config: BlockConfig) -> None:
        """Destroying one instance, or a copy, leaves another as it was."""
        first, second = build_rig(config), build_rig(config)
        clone = copy.deepcopy(first)
        x = random_input(2, 5)
        before = first(x)
        for rig in (second, clone):
            torch.testing.assert_close(rig(x), before, rtol=0, atol=0)
            with torch.no_grad():
                for parameter in rig.parameters():
                    parameter.fill_(torch.nan)
            assert config.is_identity or not rig(x).isfinite().any()
        torch.testing.assert_close(first(x), before, rtol=0, atol=0)
