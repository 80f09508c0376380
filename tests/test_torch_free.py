"""What must answer in tens of milliseconds never imports torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

GROUPS = {
    "storey 0": ["archspec/*.py"],
    "block configs": [
        "blocks/*/config.py",
        "blocks/*/sharding.py",
        "blocks/base.py",
        "blocks/layout.py",
        "blocks/registry.py",
    ],
    "spec": ["archspec/spec/**/*.py"],
    "cost": ["archspec/cost/**/*.py", "archspec/compiler/plan/**/*.py"],
    "race": ["archspec/race/**/*.py"],
    "report": ["archspec/report/**/*.py"],
    # Commands load what they need when they run; only the way to them is everybody's.
    "cli": ["archspec/cli/__init__.py", "archspec/cli/parser.py"],
}
TORCH_ALLOWED = {
    "archspec.cost.measure_device",  # times matrix multiplications
    "archspec.cost.measure",  # trains the model that it holds the books against
    "archspec.cost.verify",  # builds the module that it compares the books with
}

# Imports the modules in turn. A finder that finds nothing notes who first asked for torch, which
# says more than the module we happened to import.
PROBE = """
import importlib, json, sys, traceback

asked = []

class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch":
            asked.extend(f"{f.filename}:{f.lineno}: {f.line}" for f in traceback.extract_stack()
                         if f.filename.endswith(".py"))
        return None

sys.meta_path.insert(0, Watch)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit("\\n".join([f"importing {name} imports torch:", *asked]))
"""


def modules(patterns: list[str]) -> list[str]:
    """Module names of the files that the patterns find, less those that may import torch."""
    paths = {path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)}
    dotted = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    names = {name if name.startswith("archspec") else f"archspec.{name}" for name in dotted}
    return sorted(names - TORCH_ALLOWED - {"archspec.__main__"})  # it runs when imported


def probe(names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("group", GROUPS)
def test_group_is_torch_free(group: str) -> None:
    names = modules(GROUPS[group])
    assert names, f"no modules found for {GROUPS[group]}"
    result = probe(names)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(TORCH_ALLOWED))
def test_exception_still_exists(name: str) -> None:
    assert ROOT.joinpath(*name.split(".")).with_suffix(".py").exists()


def test_probe_names_the_culprit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "culprit.py").write_text("import math\nimport torch\n")
    (tmp_path / "innocent.py").write_text("import culprit\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = probe(["math", "innocent"])
    assert result.returncode == 1
    assert "importing innocent imports torch" in result.stderr
    assert "culprit.py:2: import torch" in result.stderr
