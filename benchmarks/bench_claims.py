"""Race the designs of specs/claims, and write what docs/claims.md shows of the paper's claims.

Without arguments the page and its figures are written anew from the results that are here. With
`--race` the race is run first, or goes on where it stopped; `--quick` runs one of a minute to see
that everything works, and writes nothing but its own directory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from archspec.race.results import RaceResults, load_results, to_json
from benchmarks.claims.figures import draw_figures
from benchmarks.claims.page import results_text, write_into
from benchmarks.claims.verdicts import ACCURACY, DENSE, DENSE_2X, MEMORY, MOE, SHARED

ROOT = Path(__file__).parents[1]
SPECS = Path("specs/claims")
RESULTS = ROOT / "benchmarks" / "results" / "claims.json"
PAGE = ROOT / "docs" / "claims.md"

RATES = ("1e-3", "2e-3", "4e-3")
SWEEP_SHARE = 0.5  # of the tokens; every design tries every rate
SEEDS = 3
POINTS = 12  # of the learning curves


def main() -> int:
    """Race where asked, then write results, figures and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--race", action="store_true", help="run the race, or go on with it")
    parser.add_argument("--quick", action="store_true", help="a race of a minute, for a look")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time (default: 2)")
    parser.add_argument("--out", type=Path, help="the race's directory (default: runs/claims)")
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "runs" / ("claims_quick" if arguments.quick else "claims")
    if arguments.race or arguments.quick:
        race(out, quick=arguments.quick, jobs=arguments.jobs)
    from_race = arguments.race or arguments.quick
    results = load_results(out / "results.json" if from_race else RESULTS)
    diverged = [run.key for d in results.designs for run in d.runs if run.diverged is not None]
    if diverged:
        print(f"no claim is judged, since training diverged in {', '.join(diverged)}; see {out}")
        return 1
    if arguments.quick:
        draw_figures(results, out)
        print(results_text(results))
    else:
        publish(results)
    return 0


def race(out: Path, *, quick: bool, jobs: int) -> None:
    """Run `archspec race` in a process of its own, or go on with a race that was begun.

    Trainings have one thread each: two side by side are faster than two after one another with two
    threads.
    """
    if (out / "race.json").exists():
        command = ["race", "--resume", str(out)]
    else:
        command = ["race", *_options(out, quick=quick)]
    command += ["--jobs", str(jobs)]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "archspec", *command], cwd=ROOT, env=threads, check=True)


def _options(out: Path, *, quick: bool) -> Sequence[str]:
    """Say what is raced: every design tries the same rates, and only `dense_2x` has more FLOPs."""
    train = SPECS / ("quick.yaml" if quick else "train.yaml")
    return (
        *(str(SPECS / f"{name}.yaml") for name in (DENSE, MOE, MEMORY, *SHARED)),
        *("--as-is", str(SPECS / f"{DENSE_2X}.yaml")),
        *("--train", str(train), "--out", str(out), "--metric", ACCURACY),
        *("--seeds", str(2 if quick else SEEDS), "--points", str(POINTS)),
        *("--sweep-each", "--sweep-share", str(SWEEP_SHARE)),
        *("--lr", *(RATES[:1] if quick else RATES)),
    )


def publish(results: RaceResults) -> None:
    """Write the results, the figures and the page into the repository."""
    RESULTS.write_text(to_json(results))
    draw_figures(results, PAGE.parent)
    PAGE.write_text(write_into(PAGE.read_text(), results))


if __name__ == "__main__":
    sys.exit(main())
