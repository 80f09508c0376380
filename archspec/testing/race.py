"""Results of races that never ran."""

import dataclasses
import random
from typing import Any

from archspec.race.results import (
    Check,
    DesignResult,
    Point,
    RaceResults,
    RunResult,
)
from archspec.race.settings import RaceSettings
from archspec.train.rates import SweepChoice, SweepRun

METRIC = "facts.accuracy"


def run(name: str, seed: int, final: float, *, steps: int = 100, late: float = 0.0) -> RunResult:
    """A run that rises to its final accuracy in a straight line, by ten evaluations."""
    curve = tuple(
        Point(
            step=step,
            tokens=step * 1000,
            seconds=step * 0.1,
            metrics={METRIC: final * max(0.0, step / steps - late), "loss": 3 - step / steps},
        )
        for step in range(steps // 10, steps + 1, steps // 10)
    )
    curve = (*curve[:-1], dataclasses.replace(curve[-1], metrics={METRIC: final, "loss": 2.0}))
    return RunResult(
        key=f"runs/{name}/seed{seed}",
        seed=seed,
        diverged=None,
        steps=steps,
        num_steps=steps,
        tokens=steps * 1000,
        seconds=steps * 0.1,
        metrics=curve[-1].metrics,
        curve=curve,
        data_order=f"order{seed}",
        data={"facts": "abc"},
        settings="same",
    )


def diverged(result: RunResult) -> RunResult:
    """The run, diverged half-way."""
    return dataclasses.replace(
        result,
        diverged="the loss is nan",
        steps=result.steps // 2,
        tokens=result.tokens // 2,
        metrics={},
        data_order="",
    )


def design(name: str, finals: list[float], *, ratio: float = 1.0, **changes: Any) -> DesignResult:
    """A design whose runs end with these accuracies, one for each seed; ``changes`` are fields."""
    result = DesignResult(
        name=name,
        source=f"{name}.yaml",
        spec_hash="0" * 64,
        family="dense",
        entry="matched",
        flops_per_token=round(400_000 * ratio),
        flops_before=400_000,
        flops_ratio=ratio,
        training_flops=round(1_200_000 * ratio),
        hidden_dims=(128, 136),
        hidden_dims_before=(160, 160),
        num_params=1_234_567,
        num_active_params=234_567,
        num_table_params=1_000_000,
        lr=0.002,
        table_lr=30.0,
        runs=tuple(run(name, seed, final) for seed, final in enumerate(finals)),
    )
    return dataclasses.replace(result, **changes)


def results(*designs: DesignResult, metric: str = METRIC) -> RaceResults:
    """A race of these designs, the reference first."""
    runs = tuple(
        SweepRun(design="dense", lr=lr, table_lr=None, value=value, tokens=1000)
        for lr, value in ((0.001, 0.2), (0.002, 0.3), (0.004, None))
    )
    return RaceResults(
        settings=RaceSettings(
            seeds=len(designs[0].runs), metric=metric, rates=(0.001, 0.002, 0.004)
        ),
        train={"tokens": 100_000, "seq_len": 16},
        metrics=("loss", METRIC),
        tokens=100_000,
        designs=designs,
        sweep=(SweepChoice(group="dense", lr=0.002, table_lr=None, edges=(), runs=runs),),
        checks=(Check(name="data order", held=True, detail="equal"),),
        jobs=2,
        machine={"cpu": "abacus"},
    )


def race(num_designs: int = 3) -> RaceResults:
    """A race of a dense reference, designs of its FLOPs, and one with more on purpose."""
    draw = random.Random(0)

    def finals(centre: float) -> list[float]:
        return [round(centre + draw.uniform(-0.02, 0.02), 4) for _ in range(3)]

    first = design("dense", finals(0.4), entry="reference", num_table_params=0)
    others = [
        design(f"shared-pool-{index}", finals(0.5 + 0.06 * index))
        for index in range(num_designs - 2)
    ]
    large = design("dense-2x", finals(0.55), ratio=2.0, entry="as is", num_table_params=0)
    return results(first, *others, large)
