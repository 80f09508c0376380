"""Imports point at the same storey or below; a folder nobody placed fails too."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

STOREYS = {
    "archspec": 7,  # the package itself: it offers names from everywhere, so nobody below reads it
    "archspec.__main__": 7,
    "archspec.cli": 7,
    "archspec.report": 6,
    "archspec.race": 5,
    "archspec.search": 5,
    "archspec.train": 4,
    "archspec.compiler": 3,
    "archspec.cost": 3,
    "archspec.bench": 2,
    "archspec.model": 2,
    "archspec.spec": 2,
    "archspec.blocks": 1,
    "archspec.kernels": 1,
    "archspec.schema": 1,
    "archspec.errors": 0,
    "archspec.initialisers": 0,
    "archspec.quantities": 0,
    "archspec.units": 0,
}
TESTING = "archspec.testing"  # stands beside the house: reads every storey, only tests read it
PUBLIC_TO_ALL = {"archspec.__version__"}  # a fact about the distribution, not a storey

# On a storey that several share: (who, never reads whom).
ONE_WAY = {
    ("archspec.spec", "archspec.model"),
    ("archspec.kernels", "archspec.blocks"),
    ("archspec.schema", "archspec.blocks"),
    ("archspec.schema", "archspec.kernels"),
}

# Where each top-level folder stands in the import package; see the symlinks inside archspec/.
PREFIXES = {
    "archspec": "archspec",
    "blocks": "archspec.blocks",
    "kernels": "archspec.kernels",
    "search": "archspec.search",
    "benchmarks": "benchmarks",
}


class Import(NamedTuple):
    """One imported name, written out in full: `archspec.errors.SpecError`."""

    line: int
    name: str


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def module_name(path: Path) -> str:
    folder, *rest = path.with_suffix("").parts
    parts = [PREFIXES[folder], *rest]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, source: str) -> Iterator[Import]:
    """Every import of a file, relative ones resolved, `TYPE_CHECKING` and functions included."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            for alias in node.names:
                yield Import(node.lineno, f"{base}.{alias.name}")


def place_of(name: str) -> str | None:
    """The row of STOREYS that an imported name or module belongs to."""
    parts = name.split(".")
    direct_child = ".".join(parts[:2])
    if direct_child in STOREYS:
        return direct_child
    # `from archspec import summarize` reads the package; `archspec/new_thing.py` needs a row.
    exists = ROOT.joinpath(*parts[:2])
    return None if exists.is_dir() or exists.with_suffix(".py").exists() else parts[0]


def faults_of(module: str, imported: str, is_config: bool) -> Iterator[str]:
    if is_config and is_within(imported, "torch"):
        yield "a block's config is torch-free"
    if not is_within(imported, "archspec") or imported in PUBLIC_TO_ALL:
        return
    if is_within(imported, TESTING):
        yield "archspec.testing is for tests only"
        return
    if is_within(module, "benchmarks"):
        return
    if is_config and "module" in imported.split("."):
        yield "a block's config never reads its module"
    here, there = place_of(module), place_of(imported)
    if there is None:
        yield "has no storey; give it a row in tests/test_layers.py"
    elif here is not None and here != there:
        if STOREYS[here] < STOREYS[there]:
            yield f"{here} is on storey {STOREYS[here]}, {there} above it on {STOREYS[there]}"
        elif (here, there) in ONE_WAY:
            yield f"{here} never reads {there}"
        elif STOREYS[here] == 0:
            yield "storey 0 imports nothing of ours"


def violations(path: Path, source: str) -> list[str]:
    """What a file imports against the rules, as `file:line: import: rule`."""
    module = module_name(path)
    if is_within(module, TESTING):
        return []
    if not is_within(module, "benchmarks") and place_of(module) is None:
        return [f"{path}:1: {module}: has no storey; give it a row in tests/test_layers.py"]
    is_config = path.parts[0] == "blocks" and path.name == "config.py"
    return [
        f"{path}:{line}: {imported}: {fault}"
        for line, imported in imports(path, source)
        for fault in faults_of(module, imported, is_config)
    ]


def sources() -> list[Path]:
    # rglob does not enter the symlinks in archspec/, so each file is read once.
    found = (path for folder in PREFIXES for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found)


def test_no_import_points_up() -> None:
    found = [fault for path in sources() for fault in violations(path, (ROOT / path).read_text())]
    assert not found, "\n" + "\n".join(found)


def test_each_file_is_read_once() -> None:
    paths = sources()
    assert Path("blocks/__init__.py") in paths
    assert len(paths) == len({(ROOT / path).resolve() for path in paths})


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("archspec/spec/load.py", "import archspec.cost.summary", "storey 2, archspec.cost above"),
        ("archspec/spec/load.py", "from archspec.model import layer", "never reads archspec.model"),
        ("archspec/spec/load.py", "from ..cost import summary", "storey 2, archspec.cost above"),
        ("archspec/spec/load.py", "from .. import cost", "storey 2, archspec.cost above"),
        ("archspec/spec/__init__.py", "from ..model import layer", "never reads archspec.model"),
        ("archspec/spec/load.py", "from archspec import summarize", "archspec above it on 7"),
        ("archspec/errors.py", "from archspec import units", "imports nothing of ours"),
        ("archspec/novelty/x.py", "", "has no storey"),
        ("archspec/cli/x.py", "from archspec.testing import contracts", "for tests only"),
        ("benchmarks/bench_x.py", "import archspec.testing.numerics", "for tests only"),
        ("kernels/bag/op.py", "from archspec.blocks import base", "never reads archspec.blocks"),
        ("blocks/moe/config.py", "from torch import nn", "config is torch-free"),
        ("blocks/moe/config.py", "from .module import MoeBlock", "never reads its module"),
        ("blocks/moe/config.py", "def f():\n    from ..dense import module", "reads its module"),
        (
            "blocks/base.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import archspec.spec.load",
            "storey 1, archspec.spec above",
        ),
    ],
)
def test_a_wrong_import_is_found(
    path: str, source: str, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "archspec" / "novelty").mkdir(parents=True)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    found = violations(Path(path), source)
    assert len(found) == 1
    assert found[0].startswith(f"{path}:{max(1, source.count(chr(10)) + 1)}: ")
    assert fault in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("archspec/cost/verify.py", "from archspec.compiler.compile import compile"),
        ("archspec/train/loop.py", "from archspec import __version__, errors"),
        ("archspec/testing/contracts.py", "import archspec.cli"),
        ("blocks/memory/module.py", "from archspec.kernels.embedding_bag import op"),
        ("blocks/moe/module.py", "from . import config"),
        ("benchmarks/bench_x.py", "import archspec.compiler"),
    ],
)
def test_a_right_import_passes(path: str, source: str) -> None:
    assert violations(Path(path), source) == []
