"""Where a search stands, read from its study by anybody who can reach the storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from archspec.search.claims import DONE
from archspec.search.holder import INTERRUPTED
from archspec.search.jobs import JOB
from archspec.search.leases import Lease, Worker
from archspec.search.results import DesignResult, rank
from archspec.search.rungs import num_later
from archspec.search.trials import HASH, Trials
from archspec.search.workspace import Workspace

_RECENT = 20  # trials that the rate is measured over


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker that has a trial.

    Attributes:
        name: ``host:pid``.
        state: ``gone`` if its process is known to have ended, ``silent`` if its lease has run out
            by its own clock, else ``alive``.
        at: What it is at.
        seconds: Since its last sign of life, by its own clock.
        done: Trials and re-runs it has ended.
    """

    name: str
    state: Literal["alive", "silent", "gone"]
    at: str
    seconds: float
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """Where a search stands.

    Attributes:
        study: Its name.
        trials: How many there are to be.
        counts: Of trials by what became of them.
        reruns: Done, and at most planned.
        workers: Those that have a trial.
        best: The best design by first runs.
        per_hour: Trials done, lately; None before the second.
        seconds_left: Until the trials are done, at that rate.
    """

    study: str
    metric: str
    trials: int
    counts: dict[str, int]
    reruns: tuple[int, int]
    workers: tuple[WorkerStatus, ...]
    best: DesignResult | None
    per_hour: float | None
    seconds_left: float | None

    @property
    def done(self) -> int:
        """Trials trained or diverged."""
        return self.counts["trained"] + self.counts["diverged"]


def study_status(workspace: Workspace, *, now: datetime | None = None) -> StudyStatus:
    """Read where a search stands.

    Args:
        workspace: The search.
        now: The time; by default this machine's.
    """
    trials = Trials(workspace.study, workspace.allowed)
    found, jobs = trials.all(), workspace.reruns.get_trials(deepcopy=False)
    ranked = rank([result for _, result in trials.completed()], workspace.spec.direction)
    per_hour = _rate(found)
    left = workspace.spec.trials - trials.num_done
    return StudyStatus(
        study=workspace.study.study_name,
        metric=workspace.spec.metric,
        trials=workspace.spec.trials,
        counts=_counts(found),
        reruns=(sum(job.state in DONE for job in jobs), num_later(workspace.spec)),
        workers=_workers([*found, *jobs], now or datetime.now(UTC)),
        best=ranked[0] if ranked else None,
        per_hour=per_hour,
        seconds_left=None if per_hour is None else max(0, left) / per_hour * 3600,
    )


def _counts(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    states = Counter(trial.state for trial in trials)
    cut = sum(t.state == TrialState.FAIL and INTERRUPTED in t.user_attrs for t in trials)
    return {
        "trained": states[TrialState.COMPLETE],
        "diverged": states[TrialState.PRUNED],
        "running": states[TrialState.RUNNING],
        "waiting": states[TrialState.WAITING],
        "queued again": cut,
        "withdrawn": states[TrialState.FAIL] - cut,
    }


def _workers(trials: Sequence[FrozenTrial], now: datetime) -> tuple[WorkerStatus, ...]:
    done = Counter(str(Worker.of(trial)) for trial in trials if trial.state in DONE)
    here = Worker.here()
    found = []
    for trial in trials:
        worker, lease = Worker.of(trial), Lease.of(trial)
        if trial.state == TrialState.RUNNING and worker is not None and lease is not None:
            found.append(_worker(trial, worker, lease, here, now, done[str(worker)]))
    return tuple(sorted(found, key=lambda worker: worker.name))


def _worker(
    trial: FrozenTrial, worker: Worker, lease: Lease, here: Worker, now: datetime, done: int
) -> WorkerStatus:
    seconds = max(0.0, (now - datetime.fromisoformat(lease.at)).total_seconds())
    state: Literal["alive", "silent", "gone"] = "alive" if seconds <= lease.seconds else "silent"
    if JOB in trial.user_attrs:
        at = f"re-run {trial.user_attrs[JOB]}"
    else:
        at = f"trial {trial.number}" + ("" if HASH in trial.user_attrs else ", proposing")
    return WorkerStatus(
        name=str(worker),
        state="gone" if worker.is_gone(here) else state,
        at=at,
        seconds=seconds,
        done=done,
    )


def _rate(trials: Sequence[FrozenTrial]) -> float | None:
    """Return the trials done in an hour, by the latest ones."""
    ends = sorted(
        trial.datetime_complete
        for trial in trials
        if trial.state in DONE and trial.datetime_complete is not None
    )[-_RECENT:]
    if len(ends) < 2:
        return None
    seconds = (ends[-1] - ends[0]).total_seconds()
    return (len(ends) - 1) / seconds * 3600 if seconds > 0 else None
