"""A spec to a model that is ready to run."""

from __future__ import annotations

import os

import torch

from archspec.blocks.table import Table
from archspec.compiler.build import build
from archspec.compiler.initialise import find_initialisers, initialise
from archspec.compiler.plan.make import check_plan
from archspec.compiler.recompute import recompute_layer
from archspec.errors import ArchspecError, suggest
from archspec.model.transformer import Transformer
from archspec.quantities import DTYPE_BYTES
from archspec.spec.load import load_model
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec


def compile(
    spec: ModelSpec | str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    plan: PlanSpec | None = None,
) -> Transformer:
    """Build the model that a spec declares and give it its first values.

    The values depend on the seed and on nothing else; they are the same on every device, and up to
    rounding in every dtype. On the device ``meta`` the model has shapes and no values.

    With a plan the model is laid over the ranks of the default process group, each of which calls
    this: parameters are DTensors, the gradients of a backward pass are means over the data-parallel
    ranks, and the values are those that one device would get, bit by bit.

    Args:
        spec: A spec, or the path of a model document.
        device: Where the parameters live.
        dtype: Of all parameters: float32, bfloat16, float16 or float64. A plan has its own.
        seed: Seed of the first values.
        plan: How the model is laid over devices.

    Raises:
        SpecError: The document breaks the language.
        ArchspecError: The dtype is unknown, a parameter has no initialiser, or the plan does not
            fit the model or the ranks there are (a PlanError then names every rule broken).

    Example:
        >>> model = archspec.compile("specs/models/tiny.yaml")
        >>> logits = model(torch.zeros(1, 16, dtype=torch.long))  # [1, 16, vocab_size]
    """
    if not isinstance(spec, ModelSpec):
        spec = load_model(spec)
    if plan is not None:
        return _compile_over_ranks(spec, plan, torch.device(device), seed)
    model = build(spec, dtype=_torch_dtype(dtype))
    find_initialisers(model)  # before any memory is taken
    if torch.device(device).type != "meta":
        model.to_empty(device=device)
        initialise(model, seed=seed)
    return model


def _compile_over_ranks(
    spec: ModelSpec, plan: PlanSpec, device: torch.device, seed: int
) -> Transformer:
    # Late: what several ranks need takes half a second to import.
    import torch.distributed as dist

    from archspec.compiler.mesh import build_meshes
    from archspec.compiler.shard import finish_tables, lay_out

    if not dist.is_initialized():
        raise ArchspecError(
            "a plan needs torch.distributed: start with torchrun and call "
            "torch.distributed.init_process_group first"
        )
    mesh = check_plan(spec, plan, world_size=dist.get_world_size())
    meshes = build_meshes(mesh, "cpu" if device.type == "meta" else device.type)
    model = build(spec, dtype=_torch_dtype(plan.precision.params))
    for module in model.modules():
        if isinstance(module, Table):
            module.to(_torch_dtype(plan.precision.tables))
    find_initialisers(model)
    for layer in model.layers:
        recompute_layer(layer, plan.recompute)
        if plan.compile:
            layer.forward = torch.compile(layer.forward)
    lay_out(model, plan, meshes)
    if device.type == "meta":
        return model
    model.to_empty(device=device)
    finish_tables(model, plan, meshes)
    initialise(model, seed=seed)
    return model


def _torch_dtype(name: str) -> torch.dtype:
    if name not in DTYPE_BYTES:
        raise ArchspecError(f"unknown dtype {name!r}; {suggest(name, DTYPE_BYTES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
