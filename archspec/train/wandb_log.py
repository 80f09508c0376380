"""A run at Weights & Biases, by the extra ``wandb``."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archspec.errors import RunError
from archspec.spec.watch import Wandb
from archspec.train.events import Evaluation, Listener, Sample, Start, Step, Usage, Warned
from archspec.train.files import read_json, replace_text
from archspec.train.scalars import evaluation_scalars, step_scalars, usage_scalars

IDENTITY = "wandb.json"


class WandbLog(Listener):
    """Logs to one run, which a resumed training goes on with.

    A step that runs again after a resume is not logged again: the service takes each step once.

    Args:
        settings: Project, mode, name.
        out: The run directory; in it go the run's name at the service, and its files.
        config: What the run was asked to do.

    Raises:
        RunError: The package is missing.
    """

    def __init__(self, settings: Wandb, *, out: Path, config: Mapping[str, Any]) -> None:
        require_wandb()
        self._settings = settings
        self._out = out
        self._config = config
        self._start: Start | None = None
        self._run: Any = None  # of wandb, which is there only by its extra

    def on_start(self, event: Start) -> None:
        """Begin the run, or go on with it."""
        import wandb

        self._start = event
        self._run = wandb.init(
            project=self._settings.project,
            mode=self._settings.mode,
            name=self._settings.name or self._out.name,
            id=_identity(self._out / IDENTITY),
            resume="allow",
            dir=str(self._out),
            config=dict(self._config),
            settings={"console": "off", "quiet": True},  # the terminal is the view's
        )

    def on_step(self, event: Step) -> None:
        """Log its numbers."""
        assert self._start is not None, "a step before the start"
        self._log(event.step, step_scalars(event, self._start))

    def on_evaluation(self, event: Evaluation) -> None:
        """Log its metrics."""
        self._log(event.step, evaluation_scalars(event))

    def on_usage(self, event: Usage) -> None:
        """Log its numbers."""
        self._log(event.step, usage_scalars(event))

    def on_sample(self, event: Sample) -> None:
        """Log it."""
        self._log(event.step, {"sample": event.prompt + event.text})

    def on_warning(self, event: Warned) -> None:
        """Send it as an alert."""
        self._run.alert(title=event.subject, text=event.message)

    def close(self) -> None:
        """Finish sending."""
        if self._run is not None:
            self._run.finish()

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log(dict(values), step=step)


def require_wandb() -> None:
    """Check that the package is there, before any training. Raises RunError."""
    try:
        import wandb  # noqa: F401 - only whether it can be had
    except ImportError:
        raise RunError(
            "watch.wandb needs wandb, which is not installed: pip install 'archspec-lm[wandb]', or "
            "leave watch.wandb out"
        ) from None


def _identity(path: Path) -> str:
    """Return the run's name at the service, drawn once."""
    if not path.is_file():
        replace_text(path, json.dumps({"id": secrets.token_hex(4)}) + "\n")
    return str(read_json(path).get("id"))
