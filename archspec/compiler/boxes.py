"""Which part of a parameter a rank holds, and a whole parameter from its parts."""

from __future__ import annotations

from torch import Tensor, nn

from archspec.blocks.layout import chunk

Box = tuple[tuple[int, int], ...]


def local_box(parameter: Tensor) -> Box:
    """Return start and stop along every dimension of what this rank holds of a parameter.

    FSDP cuts last, wherever its axis stands in the mesh: torch marks this by a strided shard.
    """
    whole = tuple((0, length) for length in parameter.shape)
    if type(parameter) in (Tensor, nn.Parameter):
        return whole
    # Late: the import takes half a second, which a model on one device need not wait for.
    from torch.distributed.tensor import DTensor, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    if not isinstance(parameter, DTensor):
        return whole
    mesh, placements = parameter.device_mesh, parameter.placements
    coordinate = mesh.get_coordinate()
    assert coordinate is not None, "every rank is in every mesh"
    strided = [isinstance(placement, _StridedShard) for placement in placements]
    order = sorted(range(len(placements)), key=lambda axis: (strided[axis], axis))
    box = list(whole)
    for axis in order:
        placement = placements[axis]
        if isinstance(placement, (Shard, _StridedShard)):
            start, stop = box[placement.dim]
            begin, end = chunk(stop - start, mesh.size(axis), coordinate[axis])
            box[placement.dim] = (start + begin, start + end)
    return tuple(box)


def held(parameter: Tensor) -> Tensor:
    """Return what this rank holds of a parameter, as a plain tensor that shares its memory."""
    if type(parameter) in (Tensor, nn.Parameter):
        return parameter
    from torch.distributed.tensor import DTensor

    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
