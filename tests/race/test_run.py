"""The course of a race, with trainings that only write what a training would."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from archspec.errors import FairnessError, RunError, SpecError
from archspec.race import run as race_run
from archspec.race.batches import BATCHES
from archspec.race.directory import Race, load_race
from archspec.race.events import Listener
from archspec.race.outcome import is_done, write_outcome
from archspec.race.results import load_results
from archspec.race.run import prepare_race, resume_race, start_race
from archspec.race.settings import RaceSettings
from archspec.race.trainings import Training
from archspec.spec.load import load_model, load_train
from archspec.train.run_directory import create_run

METRIC = "facts.accuracy"


class Trainer:
    """Stands for the crew; ``ran`` lists what was trained, in order."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_after: int | None = None
        self.other_order: str | None = None
        self.diverging: str | None = None
        self.out = Path()

    def __call__(self, out: Path, **_settings: object) -> "Trainer":
        self.out = out
        return self

    def close(self) -> None:
        pass

    def train(
        self,
        trainings: Sequence[Training],
        listener: Listener,
        finished: Callable[[Training], None],
    ) -> None:
        for training in trainings:
            if is_done(self.out / training.key):
                continue
            if self.stop_after == len(self.ran):
                raise KeyboardInterrupt
            self.ran.append(training.key)
            listener.on_start(training)
            self._write(training)
            finished(training)

    def _write(self, training: Training) -> None:
        run, train = self.out / training.key, training.train
        spec = load_model(self.out / training.spec)
        create_run(run, spec, train, device="cpu", hashes={"facts": "abc"})
        order = "other" if training.key == self.other_order else str(train.seed)
        (run / BATCHES).write_text(f"{order}\n" * train.num_steps)
        lines, every = [], train.evaluation.every_steps or train.num_steps
        for step in range(1, train.num_steps + 1):
            lines.append({"step": step, "loss": 1.0, "seconds": 0.1})
            if step % every == 0 or step == train.num_steps:
                lines.append({"step": step, "evaluation": self._metrics(training, step)})
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_outcome(run, diverged="nan" if training.key == self.diverging else None)

    @staticmethod
    def _metrics(training: Training, step: int) -> dict[str, float]:
        draw = (
            hashlib.sha256(f"{training.design} {training.train.seed}".encode()).digest()[0] / 2560
        )
        closeness = 1 - abs(training.train.optimizer.lr - 1e-3) / 1e-2
        accuracy = closeness * step / training.train.num_steps * (0.5 + draw)
        return {"loss": 2 - accuracy, METRIC: accuracy, "facts.nll": 2 - accuracy}


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(race_run, "Crew", trainer)
    return trainer


@pytest.fixture
def race(folder: Path) -> Race:
    settings = RaceSettings(
        seeds=2, metric=METRIC, rates=(5e-4, 1e-3, 2e-3), points=5, match_flops="first"
    )
    return prepare_race(
        ["dense.yaml", "shared.yaml"], ["large.yaml"], load_train("train.yaml"), settings
    )


def test_a_race_from_start_to_end(race: Race, trainer: Trainer) -> None:
    results = start_race(race, Path("out"))
    assert len(trainer.ran) == 2 * 3 + 3 * 2
    assert [key.split("/")[2] for key in trainer.ran[6:]] == ["seed0"] * 3 + ["seed1"] * 3
    assert [choice.lr for choice in results.sweep] == [1e-3, 1e-3]
    assert {design.lr for design in results.designs} == {1e-3}
    assert [design.entry for design in results.designs] == ["reference", "matched", "as is"]
    assert abs(results.designs[1].flops_ratio - 1) < 0.01
    assert results.designs[2].flops_ratio > 1.2
    assert len(results.designs[0].runs[0].curve) == 5
    assert load_results(Path("out/results.json")) == results


def test_a_finished_race_repeats_nothing(race: Race, trainer: Trainer) -> None:
    first = start_race(race, Path("out"))
    count = len(trainer.ran)
    assert resume_race(Path("out")) == first
    assert len(trainer.ran) == count


@pytest.mark.parametrize("stop_after", [0, 2, 6, 9, 11])
def test_a_stopped_race_goes_on_where_it_was(race: Race, trainer: Trainer, stop_after: int) -> None:
    trainer.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        start_race(race, Path("out"))
    assert len(trainer.ran) == stop_after
    trainer.stop_after = None
    stopped = resume_race(Path("out"))
    assert len(trainer.ran) == len(set(trainer.ran)) == 12
    trainer.ran.clear()
    assert start_race(race, Path("whole")) == stopped


def test_seeds_can_be_added_but_not_dropped(race: Race, trainer: Trainer) -> None:
    start_race(race, Path("out"))
    trainer.ran.clear()
    results = resume_race(Path("out"), seeds=3)
    assert trainer.ran == [f"runs/{name}/seed2" for name in ("dense", "shared", "large")]
    assert results.settings.seeds == 3
    with pytest.raises(RunError, match="has 3 seeds, and --seeds 1 would drop"):
        resume_race(Path("out"), seeds=1)


def test_another_order_of_data_ends_the_race_at_once(race: Race, trainer: Trainer) -> None:
    trainer.other_order = "runs/shared/seed0"
    with pytest.raises(FairnessError, match="data order: runs/shared/seed0 has order"):
        start_race(race, Path("out"))
    assert trainer.ran[-1] == "runs/shared/seed0"
    assert not Path("out/results.json").exists()


def test_a_lost_batch_is_noticed(race: Race, trainer: Trainer) -> None:
    start_race(race, Path("out"))
    path = Path("out/runs/dense/seed0") / BATCHES
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match="holds 9 batches for 10 steps"):
        resume_race(Path("out"))


def test_a_diverged_run_is_a_result(race: Race, trainer: Trainer) -> None:
    trainer.diverging = "runs/shared/seed1"
    results = start_race(race, Path("out"))
    assert load_results(Path("out/results.json")) == results
    assert [run.diverged for run in results.designs[1].runs] == [None, "nan"]


def test_a_metric_without_a_value_is_left_out_and_the_races_own_is_demanded(
    race: Race, trainer: Trainer
) -> None:
    start_race(race, Path("out"))
    log = Path("out/runs/dense/seed0/metrics.jsonl")
    text = log.read_text()
    log.write_text(text.replace('"facts.nll": ', '"facts.nll": NaN, "x": ', 1))
    assert resume_race(Path("out")).metrics == ("loss", METRIC)
    log.write_text(text.replace(f'"{METRIC}": ', f'"{METRIC}": NaN, "x": ', 1))
    with pytest.raises(RunError, match=f"runs/dense/seed0: {METRIC} is missing or not finite"):
        resume_race(Path("out"))


def test_a_spec_changed_meanwhile_is_refused(race: Race, trainer: Trainer) -> None:
    start_race(race, Path("out"))
    path = Path("out/specs/shared.yaml")
    path.write_text(path.read_text().replace("max_seq_len: 32", "max_seq_len: 31"))
    with pytest.raises(RunError, match=r"shared.yaml: was changed since the race began"):
        resume_race(Path("out"))


def test_the_directory_holds_the_trimmed_specs(race: Race, trainer: Trainer) -> None:
    start_race(race, Path("out"))
    text = Path("out/specs/shared.yaml").read_text()
    assert text.startswith("# shared.yaml, hidden_dim of its dense blocks changed from 64 to ")
    loaded = load_race(Path("out"))
    assert loaded == race


def test_points_are_added_only_where_there_are_none(folder: Path) -> None:
    text = Path("train.yaml").read_text()
    Path("dotted.yaml").write_text(text + "evaluation: {every_steps: 7}\n")
    for name, every in (("train.yaml", 2), ("dotted.yaml", 7)):
        settings = RaceSettings(points=5)
        race = prepare_race(["dense.yaml", "large.yaml"], [], load_train(name), settings)
        assert race.train.evaluation.every_steps == every


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "facts.accurate"}, "did you mean 'facts.accuracy'"),
        ({"seeds": 0}, "--seeds must be between 1 and 1000, but is 0"),
        ({"sweep_share": 1.5}, "--sweep-share must be more than 0"),
        ({"rates": (0.0,)}, "--lr must be positive numbers, but one is 0.0"),
        ({"rates": (0.1, 0.1)}, "--lr must differ"),
        ({"match_flops": "3Q"}, "--match-flops: unknown unit 'Q'"),
        ({"points": 0}, "--points must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    train = load_train("train.yaml")
    with pytest.raises(RunError, match=message):
        prepare_race(["dense.yaml", "shared.yaml"], [], train, RaceSettings(**changes))


def test_designs_get_names_of_their_own(folder: Path) -> None:
    race = prepare_race(
        ["dense.yaml", "dense.yaml"], ["dense.yaml"], load_train("train.yaml"), RaceSettings()
    )
    assert [entrant.name for entrant in race.entrants] == ["dense", "dense-2", "dense-3"]


@pytest.mark.parametrize("target", ["40k", "large.yaml"])
def test_flops_can_be_matched_to_a_number_or_another_document(folder: Path, target: str) -> None:
    settings = RaceSettings(match_flops=target)
    race = prepare_race(["dense.yaml", "shared.yaml"], [], load_train("train.yaml"), settings)
    first, second = race.entrants
    assert first.hidden_dims != first.hidden_dims_before
    assert abs(second.flops_per_token / first.flops_per_token - 1) < 0.01


def test_a_missing_document_is_named(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"gone\.yaml"):
        prepare_race(["dense.yaml", "gone.yaml"], [], load_train("train.yaml"), RaceSettings())
    with pytest.raises(RunError, match="two designs or more"):
        prepare_race(["dense.yaml"], [], load_train("train.yaml"), RaceSettings())
