"""Hold a model that is laid over ranks against the same model on one.

Each rank trains on its share of a batch; loss, gradients and parameters are compared with those of
one process that sees all of it, part by part, without gathering anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from archspec.blocks.module import ForwardContext
from archspec.compiler.boxes import held, local_box
from archspec.compiler.compile import compile
from archspec.compiler.plan.mesh import Mesh, resolve_mesh
from archspec.model.transformer import Transformer
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec

SEQUENCES, SEQ_LEN, STEPS = 8, 6, 3
BALANCE = 0.1  # coefficient of auxiliary losses


@dataclass(frozen=True)
class Reference:
    """What one process computes.

    Attributes:
        spec: The model.
        dtype: Of everything.
        loss: Of the first step.
        gradients: Of the first step, by name; without those that do not train.
        start: The first values, by name.
        end: The values after ``STEPS`` steps, by name.
    """

    spec: ModelSpec
    dtype: str
    loss: float
    gradients: Mapping[str, Tensor]
    start: Mapping[str, Tensor]
    end: Mapping[str, Tensor]


@dataclass(frozen=True)
class Deviation:
    """How far one rank is off, each as norm of the difference over norm of the whole.

    Attributes:
        loss: This rank's mean, of its own tokens.
        gradients: By name.
        start: Names whose first values differ in any bit.
        end: After ``STEPS`` steps, by name.
    """

    loss: float
    gradients: Mapping[str, float]
    start: tuple[str, ...]
    end: Mapping[str, float]


def reference(spec: ModelSpec, dtype: str = "float64") -> Reference:
    """Train a model for ``STEPS`` steps in this process."""
    model = compile(spec, dtype=dtype)
    start = _values(model)
    optimizer = _optimizer(model)
    loss, gradients = 0.0, {}
    for step in range(STEPS):
        value = mean_loss(model, *batch(spec, step))
        value.backward()
        if step == 0:
            loss = value.item()
            gradients = {
                name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
            }
        optimizer.step()
        optimizer.zero_grad()
    return Reference(spec, dtype, loss, gradients, start, _values(model))


def plan_of(dtype: str = "float64", **fields: object) -> PlanSpec:
    """Return a plan that keeps and computes everything in one dtype."""
    kinds = ("params", "compute", "gradients", "tables")
    fields.setdefault("precision", dict.fromkeys(kinds, dtype))
    return PlanSpec.model_validate(fields)


def deviation(rank: int, known: Reference, plan: PlanSpec, steps: int = STEPS) -> Deviation:
    """Train one rank's share, and compare what the rank holds."""
    model = compile(known.spec, plan=plan)
    start = tuple(
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(held(parameter.detach()), _part(known.start[name], parameter))
    )
    optimizer = _optimizer(model)
    loss, gradients = 0.0, {}
    for step in range(steps):
        value = mean_loss(model, *share(rank, plan, *batch(known.spec, step)))
        value.backward()
        if step == 0:
            loss = value.item()
            gradients = {
                name: _off(parameter.grad, known.gradients[name], parameter)
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
        optimizer.step()
        optimizer.zero_grad()
    end = {
        name: _off(parameter.detach(), known.end[name], parameter)
        for name, parameter in model.named_parameters()
    }
    return Deviation(loss, gradients, start, end if steps == STEPS else {})


def mean_loss(model: Transformer, token_ids: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of a batch with all auxiliary losses."""
    context = ForwardContext(token_ids=token_ids)
    loss = model.nll(token_ids, targets, context).mean()
    for values in context.losses.values():
        loss = loss + BALANCE * torch.stack(values).sum()
    return loss


def batch(spec: ModelSpec, step: int) -> tuple[Tensor, Tensor]:
    """Return token ids and targets of one step, each [SEQUENCES, SEQ_LEN]."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(spec.vocab_size, (SEQUENCES, SEQ_LEN + 1), generator=generator)
    return ids[:, :-1], ids[:, 1:]


def share(rank: int, plan: PlanSpec, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return this rank's rows of a batch; ranks of tp see the same."""
    world_size = torch.distributed.get_world_size()
    sizes = resolve_mesh(plan.mesh, world_size)
    assert isinstance(sizes, Mesh), "the plan fits the ranks"
    index = rank // sizes.tp
    return tuple(tensor.chunk(sizes.data_parallel)[index] for tensor in tensors)


def _optimizer(model: Transformer) -> torch.optim.AdamW:
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learned, lr=1e-2, weight_decay=0.1)


def _values(model: Transformer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _part(whole: Tensor, parameter: Tensor) -> Tensor:
    return whole[tuple(slice(*bounds) for bounds in local_box(parameter))]


def _off(got: Tensor | None, whole: Tensor, parameter: Tensor) -> float:
    part = _part(whole, parameter)
    if part.numel() == 0:
        return 0.0  # such a rank may have no gradient at all
    assert got is not None, "a part of a trained parameter has a gradient"
    difference: float = ((held(got) - part).norm() / whole.norm().clamp_min(1e-300)).item()
    return difference
