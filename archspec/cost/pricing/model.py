"""What one written-out model costs, by its summary, its plan and the roofline."""

from __future__ import annotations

from archspec.compiler.plan.make import BuildPlan, make_plan
from archspec.cost.device import device_bytes
from archspec.cost.inference import decode_work
from archspec.cost.pricing.quantities import PriceSetting
from archspec.cost.roofline import part_time
from archspec.cost.summary import cost_context, total_cost
from archspec.cost.training import training_flops, training_work
from archspec.cost.work import PartWork
from archspec.errors import ArchspecError
from archspec.quantities import Cost
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import Recompute

NANOSECONDS = 1e9


def price(spec: ModelSpec, setting: PriceSetting) -> dict[str, int]:
    """Price one model in every quantity that a budget can bound.

    Raises:
        PlanError: If the plan cannot lay it out.
        ArchspecError: If the device lacks a rate that its times need.
    """
    laid_out = lay_out(spec, setting)
    found = counts(total_cost(spec, cost_context(spec)))
    if laid_out is not None:
        found["device_bytes"] = laid_out.largest.total
    else:
        training = total_cost(spec, cost_context(spec, dtype="float32"))
        found["device_bytes"] = device_bytes(training, micro_tokens=setting.micro_tokens)
    found["train_flops"] = setting.tokens * run_flops(spec, setting)
    if setting.hardware is not None:
        computing, overlapped, waiting = step_seconds(spec, setting, laid_out)
        step = max(computing, overlapped) + waiting
        found["step_time"] = round(NANOSECONDS * step)
        found["decode_time"] = round(NANOSECONDS * decode_seconds(spec, setting.hardware))
    return found


def counts(cost: Cost) -> dict[str, int]:
    """Return the quantities that are read off a price in bf16."""
    return {
        "flops_per_token": cost.flops_per_token,
        "num_params": cost.num_params,
        "num_active_params": cost.num_active_params,
        "table_bytes_per_token": cost.table_bytes_per_token,
        "kv_bytes_per_token": cost.kv_bytes_per_token,
    }


def lay_out(spec: ModelSpec, setting: PriceSetting) -> BuildPlan | None:
    """Return a model under the plan, whether or not it fits; None without a plan.

    Raises:
        PlanError: If the plan cannot lay it out.
    """
    plan = setting.plan_for(spec)
    if plan is None:
        return None
    return make_plan(
        spec,
        plan,
        world_size=setting.world_size,
        hardware=setting.hardware,
        micro_tokens=setting.micro_tokens,
        allow_oversize=True,
    )


def run_flops(spec: ModelSpec, setting: PriceSetting) -> int:
    """Return the training FLOPs of one token, what the plan recomputes included."""
    recompute: Recompute = "none" if setting.plan is None else setting.plan.recompute
    return training_flops(spec, cost_context(spec), recompute)


def step_seconds(
    spec: ModelSpec, setting: PriceSetting, laid_out: BuildPlan | None
) -> tuple[float, float, float]:
    """Return the seconds of a step that compute, run beside it, and wait.

    Raises:
        ArchspecError: If the device lacks a rate or a bandwidth.
    """
    assert setting.hardware is not None, "times are those of a device"
    if laid_out is not None:
        if laid_out.time is None:
            raise ArchspecError(laid_out.untimed)
        time = laid_out.time
        return time.computing, time.overlapped, time.waiting
    context = cost_context(spec)
    work = training_work(spec, context, tokens=setting.micro_tokens)
    return _seconds(work, setting.hardware), 0.0, 0.0


def decode_seconds(spec: ModelSpec, hardware: HardwareSpec) -> float:
    """Return the seconds of one step of decoding. Raises ArchspecError as ``price`` does."""
    return _seconds(decode_work(spec, cost_context(spec), batch=1), hardware)


def _seconds(work: tuple[PartWork, ...], hardware: HardwareSpec) -> float:
    peak, bandwidth = hardware.flops("bfloat16"), hardware.memory_bandwidth
    return sum(part_time(part, peak_flops=peak, bandwidth=bandwidth).seconds for part in work)
