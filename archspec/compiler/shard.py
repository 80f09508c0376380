"""A model on the meta device, laid over the ranks of a plan.

In order: parameters that tp, ep or memory cut become DTensors of their local shape; modules are
told who shares their work; FSDP cuts what is left over the data-parallel ranks, layer by layer,
small tables as units of their own. Nothing has memory yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from archspec.blocks.layout import (
    EP,
    MEMORY_COLUMNS,
    MEMORY_ROWS,
    TP,
    Layouts,
    ParameterLayout,
    fsdp_dim,
)
from archspec.blocks.moe.module import Experts, MoeBlock
from archspec.blocks.pool.module import Pool
from archspec.blocks.table import Table
from archspec.compiler.collectives import all_reduce
from archspec.compiler.expert_parallel import ExpertExchange
from archspec.compiler.memory_parallel import average_over_replicas, lookup_over
from archspec.compiler.mesh import MemoryMesh, Meshes
from archspec.compiler.plan.layouts import model_layouts
from archspec.compiler.tensor_parallel import (
    SHARING,
    ParallelVocabulary,
    share_work,
)
from archspec.model.transformer import Transformer
from archspec.spec.plan import PlanSpec, Precision


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What laying out a model needs to know of everything.

    Attributes:
        model: On the meta device.
        plan: How it is laid out.
        meshes: Over what.
        layouts: Of every parameter, by name.
    """

    model: Transformer
    plan: PlanSpec
    meshes: Meshes
    layouts: Layouts

    def pieces(self, owner: str) -> tuple[int, int] | None:
        """Return the pieces of rows and columns of a folded table, or None if it is not folded."""
        pool = owner.removeprefix("pools.") if owner.startswith("pools.") else None
        table = self.plan.table_plan(pool)
        memory = self.meshes.sizes.memory
        if not table.is_folded(memory):
            return None
        counts = table.counts(memory)
        return counts.rows, counts.columns

    def pools(self) -> Iterator[tuple[str, Pool]]:
        """Yield every pool and private table of product keys once, by name."""
        for name, module in self.model.named_modules():
            if isinstance(module, Pool):
                yield name, module


def lay_out(model: Transformer, plan: PlanSpec, meshes: Meshes) -> None:
    """Lay a model over the meshes of a plan, in place.

    Args:
        model: On the meta device.
        plan: Precision, recompute, tables.
        meshes: The ranks.
    """
    layout = Layout(model=model, plan=plan, meshes=meshes, layouts=model_layouts(model.spec))
    _cut_parameters(layout)
    _share(layout)
    _apply_fsdp(layout)


def finish_tables(model: Transformer, plan: PlanSpec, meshes: Meshes) -> None:
    """Have the gradients of folded tables averaged, as FSDP averages all others.

    Once the parameters have memory: a hook belongs to the tensor that gets the gradient.
    """
    layout = Layout(model=model, plan=plan, meshes=meshes, layouts={})
    for name, pool in layout.pools():
        mesh = _memory_mesh(layout, name)
        if mesh is None:
            continue
        for parameter in pool.parameters(recurse=False):
            parameter.register_hook(
                partial(
                    _average,
                    groups=mesh.replica_groups,
                    data_parallel=meshes.sizes.data_parallel,
                )
            )


def _average(gradient: Tensor, **options: object) -> Tensor:
    assert isinstance(gradient, DTensor), "a folded table is a DTensor"
    mean = average_over_replicas(gradient.to_local(), **options)  # type: ignore[arg-type]
    return DTensor.from_local(
        mean,
        gradient.device_mesh,
        gradient.placements,
        run_check=False,
        shape=gradient.shape,
        stride=gradient.stride(),
    )


def _memory_mesh(layout: Layout, owner: str) -> MemoryMesh | None:
    pieces = layout.pieces(owner)
    return None if pieces is None else layout.meshes.memory(*pieces)


def _cut_parameters(layout: Layout) -> None:
    sharing = _parameters_inside_shared_work(layout.model)
    for prefix, module in layout.model.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            full = f"{prefix}.{name}" if prefix else name
            laid = _mesh_of(layout, prefix, module, parameter in sharing)
            if laid is None:
                continue
            mesh, axes = laid
            cut = _cut(parameter, layout.layouts[full], mesh, axes)
            setattr(module, name, nn.Parameter(cut, requires_grad=parameter.requires_grad))


def _mesh_of(
    layout: Layout, owner: str, module: nn.Module, shares_work: bool
) -> tuple[DeviceMesh, tuple[str, ...]] | None:
    """Return over which mesh, with which axes, the parameters of a module are laid, if any."""
    meshes = layout.meshes
    if isinstance(module, Pool):
        mesh = _memory_mesh(layout, owner)
        if mesh is not None:
            return mesh.table, (MEMORY_ROWS, TP, MEMORY_COLUMNS)
    if isinstance(module, Experts) and meshes.sizes.ep > 1:
        if meshes.sizes.tp > 1:
            return meshes.experts, (EP, TP)
        return meshes.experts["ep"], (EP,)
    if meshes.sizes.tp == 1:
        return None
    in_vocabulary = module in (layout.model.embedding, layout.model.head)
    if shares_work or in_vocabulary or isinstance(module, Pool):
        return meshes.tp, (TP,)
    return None


def _parameters_inside_shared_work(model: nn.Module) -> set[nn.Parameter]:
    """Return what modules use on their part of the work, hence with partial gradients.

    Not so the bias of a projection that ends the work, which is added to the sum.
    """
    found: set[nn.Parameter] = set()
    for module in model.modules():
        if isinstance(module, SHARING):
            found |= set(module.parameters())
    for module in model.modules():
        if isinstance(module, SHARING):
            for name in ("down", "output"):
                last = getattr(module, name, None)
                if isinstance(last, nn.Linear) and last.bias is not None:
                    found.discard(last.bias)
    return found


def _cut(
    parameter: nn.Parameter, layout: ParameterLayout, mesh: DeviceMesh, axes: tuple[str, ...]
) -> Tensor:
    """Return a parameter as a DTensor on meta: replicated over the axes that do not cut it."""
    sizes = {axis: mesh.size(place) for place, axis in enumerate(axes)}
    coordinate = mesh.get_coordinate()
    assert coordinate is not None, "every rank is in every mesh"
    cuts = layout.cuts(sizes)
    # An axis of one rank cuts nothing, but must not pass for replicas, whose gradients are summed.
    cut_or_alone = {**cuts, **{a: d for a, d in layout.shard.items() if sizes.get(a) == 1}}
    placements: list[Placement] = [
        Shard(cut_or_alone[axis]) if axis in cut_or_alone else Replicate() for axis in axes
    ]
    shape = layout.local_shape(sizes, dict(zip(axes, coordinate, strict=True)))
    return DTensor.from_local(
        torch.empty(shape, dtype=parameter.dtype, device="meta"),
        mesh,
        placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _share(layout: Layout) -> None:
    model, meshes = layout.model, layout.meshes
    tp_group = meshes.tp.get_group()
    if meshes.sizes.tp > 1:
        model.vocabulary = ParallelVocabulary(tp_group)
        share_work(model, tp_group)
    for name, pool in layout.pools():
        pieces = layout.pieces(name)
        if pieces is not None or meshes.sizes.tp > 1:
            mesh = meshes.memory(*(pieces or (1, 1)))
            pool.lookup = lookup_over(
                mesh, tp_group, slots=pool.slots, data_parallel=meshes.sizes.data_parallel
            )
    if meshes.sizes.ep > 1:
        exchange = ExpertExchange(meshes.experts["ep"].get_group())
        for module in model.modules():
            if isinstance(module, Experts):
                module.exchange = exchange
    if meshes.sizes.data_parallel > 1 and any(isinstance(m, MoeBlock) for m in model.modules()):
        model.sum_over_batch = partial(all_reduce, group=meshes.data_group)


def _apply_fsdp(layout: Layout) -> None:
    model, meshes, precision = layout.model, layout.meshes, layout.plan.precision
    whole = _left_alone(layout)
    dims = {parameter: layout.layouts[name] for name, parameter in model.named_parameters()}

    def shard(module: nn.Module, mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> None:
        ranks = mesh.size(mesh.ndim - 1)
        fully_shard(
            module,
            mesh=mesh,
            mp_policy=policy,
            ignored_params=whole,
            shard_placement_fn=lambda parameter: _fsdp_placement(parameter, ranks),
        )
        assert isinstance(module, FSDPModule), "fully_shard makes it one"
        if mesh.device_type != "cuda":
            module.set_force_sum_reduction_for_comms(True)  # gloo has no average

    assert dims.keys() >= whole, "what FSDP leaves alone is part of the model"
    policy = _policy(precision)
    for module in model.modules():
        if isinstance(module, Table) and not set(module.parameters()) & whole:
            shard(module, meshes.data, _table_policy(precision))
    for layer in model.layers:
        for module in layer.modules():
            if isinstance(module, Experts) and meshes.sizes.ep > 1:
                shard(module, meshes.expert_data, policy)
        shard(layer, meshes.data, policy)
    shard(model, meshes.data, policy)
    register_fsdp_forward_method(model, "nll")


def _left_alone(layout: Layout) -> set[nn.Parameter]:
    """Return what FSDP must not touch: folded tables, and what no gradient moves."""
    found = {p for p in layout.model.parameters() if not p.requires_grad}
    for name, pool in layout.pools():
        if layout.pieces(name) is not None:
            found |= set(pool.parameters(recurse=False))
    return found


def _fsdp_placement(parameter: Tensor, ranks: int) -> Shard:
    """Cut along the dimension that ``fsdp_dim`` chooses for what this rank holds."""
    taken: set[int] = set()
    shape = tuple(parameter.shape)
    if isinstance(parameter, DTensor):
        shape = tuple(parameter._local_tensor.shape)
        taken = {place.dim for place in parameter.placements if isinstance(place, Shard)}
    return Shard(fsdp_dim(shape, ranks, taken) if shape[0] else 0)


def _policy(precision: Precision) -> MixedPrecisionPolicy:
    compute = getattr(torch, precision.compute) if precision.compute != precision.params else None
    return MixedPrecisionPolicy(
        param_dtype=compute, reduce_dtype=getattr(torch, precision.gradients)
    )


def _table_policy(precision: Precision) -> MixedPrecisionPolicy:
    """Gather rows as they are kept; weights and picks stay what they are."""
    return MixedPrecisionPolicy(
        reduce_dtype=getattr(torch, precision.gradients), cast_forward_inputs=False
    )
