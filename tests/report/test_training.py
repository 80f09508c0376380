"""A made-up run, of which every part of the view has something to show."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from archspec.report.training import TrainingView
from archspec.report.training_screen import training_screen
from archspec.report.training_state import TrainingState
from archspec.report.usage import bar, skyline
from archspec.train.events import (
    Evaluation,
    ExpertUse,
    Peak,
    Sample,
    SourceShare,
    Start,
    Step,
    TableUse,
    TrainResult,
    Usage,
    Warned,
)

START = Start(
    step=0,
    num_steps=5000,
    batch_tokens=2048,
    out=Path("runs/first"),
    num_ranks=4,
    num_params=1_234_567,
    training_flops_per_token=1_600_000,
    device="cpu",
    peak=Peak(flops=9.1e10, source="91 GFLOP/s measured in float32 on cpu", measured=True),
    data=(
        SourceShare(name="facts", share=0.5, tokens=409_600),
        SourceShare(name="pydoc", share=0.5),
    ),
)


def table(name, *, reader=None, slots=65536, **shares):
    return TableUse(name=name, reader=reader, hashed=False, slots=slots, lookups=262_144, **shares)


USAGE = Usage(
    step=1191,
    counted=10,
    tables=(
        table("pools.big", touched=0.453, even=0.982, entropy=0.81, top1=0.081, dead=0.12),
        table(
            "layers.0.blocks.0.values",
            slots=4096,
            touched=0.002,
            even=1.0,
            entropy=0.04,
            top1=0.99,
            dead=0.93,
        ),
        *(
            table(
                "pools.big",
                reader=reader,
                touched=touched,
                even=0.865,
                entropy=0.79,
                top1=0.1,
                dead=0.12,
            )
            for reader, touched in (("layers.1.blocks.1", 0.31), ("layers.4.blocks.0", 0.29))
        ),
    ),
    experts=(
        ExpertUse(
            name="layers.2.blocks.0.experts",
            tokens=20480,
            load=(0.25, 0.3, 0.11, 0.41, 0.0, 0.33, 0.35, 0.25),
            imbalance=1.64,
            entropy=0.87,
            dead=1,
        ),
    ),
)
EVALUATION = Evaluation(
    step=1000,
    metrics={"loss": 2.431, "facts.accuracy": 0.3125, "facts.nll": 2.2, "pydoc.nll": 2.61},
)
SAMPLE = Sample(step=1000, prompt="The ", text="module [bold]is\na list")
WARNING = Warned(step=1191, subject="layers.0.blocks.0.values", message="few slots are used")


class Clock:
    """Time that the made-up run makes pass."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def play(listener, clock, *, steps=1240):
    listener.on_start(START)
    for number in range(1, steps + 1):
        clock.now += 0.2
        listener.on_step(step(number))
        if number == EVALUATION.step:
            listener.on_evaluation(EVALUATION)
            listener.on_sample(SAMPLE)
        if number == USAGE.step:
            listener.on_usage(USAGE)
            listener.on_warning(WARNING)


def step(number):
    return Step(
        step=number,
        tokens=number * START.batch_tokens,
        loss=2.3 + 3.5 * math.exp(-number / 300) + 0.1 * math.sin(number),
        auxiliary={"load_balance": 1.02},
        lr=2e-3,
        table_lr=0.2,
        grad_norm=0.83,
        seconds=0.16,
        memory_bytes=432_013_312,
    )


RESULT = TrainResult(
    finished=False,
    steps=1240,
    tokens=1240 * 2048,
    metrics={},
    seconds=198.4,
    tokens_per_second=12_800.0,
    history=(),
)


@pytest.fixture
def shown():
    """What a view prints of the run, on a console of some kind."""

    def show(*, width=80, height=40, **console):
        file = io.StringIO()
        screen = Console(file=file, width=width, height=height, highlight=False, **console)
        clock = Clock()
        view = TrainingView(screen, clock)
        play(view, clock)
        view.on_end(RESULT)
        return file.getvalue()

    return show


def screen(width, height):
    clock = Clock()
    state = TrainingState(clock)
    play(state, clock)
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, no_color=True, highlight=False)
    console.print(training_screen(state, width=width, height=height))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (160, 40)])
def test_the_screen_is_what_was_read_and_found_good(width, height, request):
    found = screen(width, height)
    golden = Path(__file__).with_name(f"training_{width}x{height}.txt")
    if request.config.getoption("--update-golden"):
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("width", range(40, 200, 17))
@pytest.mark.parametrize("height", [10, 24, 60])
def test_no_line_is_wider_than_the_terminal(width, height):
    assert max(map(len, screen(width, height).splitlines())) <= width


def test_the_screen_fits_a_small_terminal():
    assert len(screen(80, 24).splitlines()) <= 24
    assert len(screen(160, 24).splitlines()) <= 24


def test_before_the_first_step_the_screen_says_so():
    state = TrainingState()
    state.on_start(START)
    console = Console(file=io.StringIO(), width=80)
    console.print(training_screen(state, width=80, height=24))
    assert "first step" in console.file.getvalue()


def test_in_a_pipe_every_report_is_a_line(shown):
    printed = shown()
    assert "\x1b" not in printed
    first, *lines = printed.splitlines()
    assert first.startswith("1.23 M parameters, 1.60 MFLOP a token, 2.05 k tokens a step; 4 ranks")
    assert all(line.startswith("step ") for line in lines)
    kinds = [line.split()[2] for line in lines]
    # 1,240 steps of 0.2 s: a line after each 5 s, and what was reported between.
    assert kinds.count("loss") == pytest.approx(1240 * 0.2 / 5, abs=2)
    assert (kinds.count("evaluation"), kinds.count("sample"), kinds.count("warning:")) == (1, 1, 1)
    assert (kinds.count("use"), kinds.count("load")) == (4, 1)
    assert r"step 1000/5000  sample  'The ' -> 'module [bold]is\na list'" in lines


def test_the_last_report_of_use_is_said_before_the_end():
    clock, file = Clock(), io.StringIO()
    view = TrainingView(Console(file=file, width=80), clock)
    play(view, clock, steps=USAGE.step)
    assert "use of pools.big" not in file.getvalue()
    view.on_end(RESULT)
    assert file.getvalue().count("use of pools.big") == 3


def test_on_a_terminal_the_view_goes_away_and_reports_stay(shown):
    printed = shown(force_terminal=True, color_system=None)
    assert "measured after step 1,000" in printed
    end = printed[printed.rindex("\x1b[?25h") :]  # the cursor comes back with the end of the view
    assert "slots used" not in end
    assert "step 1191/5000  warning: layers.0.blocks.0.values: few slots are used" in printed
    assert r"sample  'The ' -> 'module [bold]is\na list'" in printed


def test_drawing_takes_a_small_share_of_the_time():
    """A terminal so slow that a picture takes a second gets one in a hundred seconds."""
    clock = Clock()

    class Slow(io.StringIO):
        def write(self, text):
            if "step" in text:
                clock.now += 1.0
            return super().write(text)

    view = TrainingView(Console(file=Slow(), width=80, force_terminal=True), clock)
    play(view, clock, steps=400)
    view.close()
    assert clock.now < 400 * 0.2 * 1.1 + 4


def test_the_speed_is_held_against_the_peak_that_there_is():
    assert START.peak_share(12_800) == pytest.approx(12_800 * 1.6e6 / 9.1e10)
    state = TrainingState()
    state.on_start(Start(step=0, num_steps=9, batch_tokens=2048, out=None))
    state.on_step(step(1))
    assert state.peak_share is None


def test_time_left_counts_what_happens_between_steps():
    clock = Clock()
    state = TrainingState(clock)
    state.on_start(START)
    for number in (1, 2, 3):
        clock.now += 10.0  # of which a step takes 0.16
        state.on_step(step(number))
    assert state.seconds_left == pytest.approx(4997 * 10.0)


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "    "), (1e-9, "▏   "), (0.5, "██  "), (0.53, "██▏ "), (1, "████")]
)
def test_a_bar_shows_whatever_is_there(share, drawn):
    assert bar(share, 4) == drawn


def test_a_skyline_leaves_a_gap_only_where_there_is_nothing():
    assert skyline([0.5, 0.25, 1e-6, 0.0], 4) == "█▄▁ "
    assert len(skyline([0.1] * 300, 24)) <= 24
