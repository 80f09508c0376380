import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from archspec.race.events import Plan, Progress
from archspec.race.settings import Entrant, RaceSettings
from archspec.race.trainings import Training
from archspec.report.race_view import RaceView
from archspec.spec.load import load_model, load_train
from archspec.testing.race import race
from archspec.train.rates import Rates

TRAIN = load_train(Path("specs/train/proxy.yaml"))
TRAINING = Training(
    key="runs/tiny/seed0",
    title="tiny, seed 0",
    design="tiny",
    spec="specs/tiny.yaml",
    train=TRAIN,
    stage="race",
    rates=Rates(),
)
SWEEP = dataclasses.replace(TRAINING, key="sweep/tiny/lr1", title="tiny, lr1", stage="sweep")
ENTRANT = Entrant(
    name="tiny",
    source="tiny.yaml",
    spec=load_model(Path("specs/models/tiny.yaml")),
    family="dense",
    entry="reference",
    flops_per_token=656_384,
    flops_before=656_384,
    hidden_dims=(128,),
    hidden_dims_before=(128,),
)
PLAN = Plan(
    entrants=(ENTRANT,),
    settings=RaceSettings(),
    trainings=4,
    done=1,
    steps=4 * TRAIN.num_steps,
    done_steps=TRAIN.num_steps,
    jobs=2,
)


def tell(console: Console, *, end: bool = True) -> None:
    with RaceView(console) as view:
        view.on_plan(PLAN)
        view.on_start(SWEEP)
        view.on_start(TRAINING)
        view.on_progress(TRAINING, Progress(step=1, num_steps=TRAIN.num_steps, loss=3.0))
        view.on_progress(TRAINING, Progress(step=60, num_steps=TRAIN.num_steps, loss=2.5))
        if not end:
            console.print(view._table())
            return
        view.on_finish(SWEEP, None)
        view.on_choice(race().sweep)
        view.on_finish(TRAINING, 1.5)


def test_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=80)
    tell(console)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "tiny: 656 k FLOPs a token, 1.000x (reference)"
    assert lines[1] == "4 trainings, 2 at a time; 1 were done before, going on"
    assert lines[2].startswith("2/4  sweep  tiny, lr1: diverged, ")
    assert lines[3].startswith("dense: learning rate 0.002 of 0.001, 0.002, 0.004")
    assert lines[4].startswith("3/4  tiny, seed 0: loss 1.5000, ")
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_a_line_for_every_running_training(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    tell(console, end=False)
    text = console.file.getvalue()
    assert f"step 60/{TRAIN.num_steps}  loss 2.500" in text
    assert "starting" in text
    assert "1 of 4 trainings done" in text
