"""What the parts of a model add to its price, by the differences between models that have them.

A model with one layer costs what one without costs, and that layer, and the pools it reads; one
with two such layers costs the layer once more. So every part is priced by what prices whole models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archspec.blocks.pool.config import PoolConfig
from archspec.compiler.plan.make import BuildPlan
from archspec.compiler.plan.memory import dispatch_bytes, look_up_bytes, section_copies
from archspec.compiler.plan.sections import FRAME
from archspec.compiler.plan.work import head_share, layer_share
from archspec.cost.device import device_bytes
from archspec.cost.pricing.model import counts, decode_seconds, lay_out, run_flops, step_seconds
from archspec.cost.pricing.quantities import Floats, Ints, PriceSetting
from archspec.cost.summary import cost_context, total_cost
from archspec.spec.model import LayerSpec, ModelSpec

SECONDS = ("computing", "overlapped", "waiting", "decoding")
PEAKS = ("rebuilt", "dispatch", "picks", "sums", "copies", "gradients")


@dataclass(frozen=True, slots=True)
class Amounts:
    """What parts add up to.

    Attributes:
        counts: In the order of ``QUANTITIES``; of ``device_bytes`` what is a sum.
        seconds: In the order of ``SECONDS``.
    """

    counts: Ints
    seconds: Floats

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(self.counts - other.counts, self.seconds - other.seconds)


class PartPricer:
    """Prices layers and pools around one base.

    Attributes:
        fixed: What a model without layers adds.
    """

    def __init__(self, base: ModelSpec, setting: PriceSetting) -> None:
        self._base = base
        self._setting = setting
        self._empty = base.replace(layers=(), pools={})
        self.fixed = self._amounts(self._empty)

    def layer(self, layer: LayerSpec, num_keys: Mapping[str, int]) -> Amounts:
        """Price a layer, its pools apart, which have these sizes."""
        one = self._model([layer], num_keys)
        if not one.pools:
            return self._amounts(one) - self.fixed
        return self._amounts(self._model([layer, layer], num_keys)) - self._amounts(one)

    def pool(self, layer: LayerSpec, name: str, num_keys: int) -> Amounts:
        """Price the rows of a pool of some size; ``layer`` has a block that reads it."""
        block = next(block for block in layer.blocks if block.pool_name == name)
        reader = dataclasses.replace(layer, blocks=(block,), names=("",))
        one = self._amounts(self._model([reader], {name: num_keys}))
        return one - self.fixed - self.layer(reader, {name: num_keys})

    def peaks(self, layer: LayerSpec, num_keys: Mapping[str, int]) -> Ints:
        """Return what a layer needs of what is not kept for all at once, as ``PEAKS``.

        Copies and gradients are those of the layer with the pools that it reads.
        """
        spec = self._model([layer], num_keys)
        found = lay_out(spec, self._setting)
        if found is None:
            return np.zeros(len(PEAKS), dtype=np.int64)
        plan, mesh, tokens = found.plan, found.mesh, found.micro_tokens
        context = cost_context(spec, dtype=plan.precision.compute)
        rebuilt = tokens * layer_share(layer, context, plan, mesh.tp).rebuilt_bytes
        picks, sums = _most(look_up_bytes(spec, plan, mesh, tokens))
        names = (section.name for section in found.sections if section.name != FRAME)
        copies, gradients = (
            sum(sizes) for sizes in zip(*(_copies(found, n) for n in names), strict=True)
        )
        if plan.recompute == "none":
            picks = 0  # kept for all at once
        dispatch = dispatch_bytes(spec, plan, mesh, tokens)
        return np.array([rebuilt, dispatch, picks, sums, copies, gradients], dtype=np.int64)

    def frame_gradients(self) -> int:
        """Return the copies and gradients of the frame, which layers' must exceed to count."""
        found = lay_out(self._empty, self._setting)
        return 0 if found is None else int(_copies(found, FRAME)[1])

    def _model(self, layers: Sequence[LayerSpec], num_keys: Mapping[str, int]) -> ModelSpec:
        read = {block.pool_name for layer in layers for block in layer.blocks}
        pools: dict[str, PoolConfig] = {
            name: pool.model_copy(update={"num_keys": num_keys.get(name, pool.num_keys)})
            for name, pool in self._base.template_pools.items()
            if name in read
        }
        return self._base.replace(layers=tuple(layers), pools=pools)

    def _amounts(self, spec: ModelSpec) -> Amounts:
        setting, found = self._setting, lay_out(spec, self._setting)
        amounts = counts(total_cost(spec, cost_context(spec)))
        if found is not None:
            amounts["device_bytes"] = _summed_bytes(found)
        else:
            training = total_cost(spec, cost_context(spec, dtype="float32"))
            amounts["device_bytes"] = device_bytes(training, micro_tokens=setting.micro_tokens)
        amounts["train_flops"] = run_flops(spec, setting)
        seconds = np.zeros(len(SECONDS))
        if setting.hardware is not None:
            seconds[:3] = step_seconds(spec, setting, found)
            seconds[3] = decode_seconds(spec, setting.hardware)
        return Amounts(np.array(list(amounts.values()), dtype=np.int64), seconds)


def _summed_bytes(found: BuildPlan) -> int:
    """Return what of a rank's bytes adds up over layers: all but buffers that layers share."""
    memory, plan, spec = found.largest, found.plan, found.spec
    context = cost_context(spec, dtype=plan.precision.compute)
    shares = (layer_share(layer, context, plan, found.mesh.tp) for layer in spec.layers)
    kept = sum(share.kept_bytes for share in shares)
    kept += head_share(spec, context, found.mesh.tp).activation_bytes_per_token
    held = memory.total - memory.activations - memory.gathered - memory.dispatch - memory.exchange
    held += found.micro_tokens * kept + int(_copies(found, FRAME)[0])
    if plan.recompute == "none":
        looks = look_up_bytes(spec, plan, found.mesh, found.micro_tokens)
        held += sum(picks for picks, _ in looks)
    return held


def _most(looks: Sequence[tuple[int, int]]) -> tuple[int, int]:
    picks, sums = zip(*looks, strict=True) if looks else ((0,), (0,))
    return max(picks), max(sums)


def _copies(found: BuildPlan, name: str) -> tuple[int, int]:
    """Return what FSDP gathers of a section, and that with its gradients; 0 if it does not."""
    if found.mesh.dp_shard == 1 and found.plan.precision.compute == found.plan.precision.params:
        return 0, 0
    section = next(section for section in found.sections if section.name == name)
    return section_copies(section, found.plan.precision)
