"""How long `archspec summary` of a 138.7B-parameter spec takes beside `import torch`.

The summary must be usable in an editor's save hook, so it must not pay for torch: the goal is under
a quarter of the time of importing it. Both are whole processes, run in turn.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

SPEC = "specs/models/memory_plus_1.3b_64m.yaml"
COMMANDS = {
    "archspec summary": ["-m", "archspec", "summary", SPEC],
    "import torch": ["-c", "import torch"],
    "python, nothing": ["-c", "pass"],
}
RUNS = 7


def seconds(arguments: list[str]) -> float:
    """Time one whole Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Run the commands in turn and print medians, ranges and the ratio."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, arguments in COMMANDS.items():
            taken = seconds(arguments)
            if run:  # the first run warms the disk cache
                times[name].append(taken)
    for name, taken in times.items():
        median, low, high = statistics.median(taken), min(taken), max(taken)
        print(f"{name:18} median {median:.3f} s, {low:.3f} to {high:.3f} over {RUNS} runs")
    ratios = [
        ours / torch
        for ours, torch in zip(times["archspec summary"], times["import torch"], strict=True)
    ]
    print(
        f"summary / import torch, pair by pair: median {statistics.median(ratios):.3f}, goal 0.25"
    )


if __name__ == "__main__":
    main()
