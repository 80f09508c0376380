"""List the benchmarks, then run those named, or all of them: `python -m benchmarks [NAME ...]`."""

import argparse
import subprocess
import sys
from pathlib import Path

PREFIX = "bench_"


def main() -> int:
    """Run each benchmark in a process of its own; report 1 if any of them failed."""
    here = Path(__file__).parent
    found = sorted(path.stem.removeprefix(PREFIX) for path in here.glob(f"{PREFIX}*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(found) or "none yet")
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(found)):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(found)}")

    print(f"{len(found)} benchmarks in {here.name}/: {', '.join(found) or 'none yet'}")
    failed = []
    for name in names or found:
        print(f"== {name}", flush=True)
        # A process each: thread settings, caches and peak memory of one must not reach the next.
        command = [sys.executable, "-m", f"{here.name}.{PREFIX}{name}"]
        if subprocess.run(command, cwd=here.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
