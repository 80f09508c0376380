"""The wheel holds one package, archspec, with everything that lives behind the symlinks."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = ("archspec", "blocks", "kernels", "search", "specs")
LINKED = ("blocks", "kernels", "search", "specs")
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints; fail with all of it if the command does."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # In a copy: setuptools packs whatever an earlier build left in build/.
    source = tmp_path_factory.mktemp("source")
    for folder in PACKAGED:
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=CACHES)
    for file in filter(Path.is_file, ROOT.iterdir()):
        shutil.copy(file, source)
    target = tmp_path_factory.mktemp("wheel")
    # By way of the source distribution, so that the symlinks are known to survive that as well.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, cwd=source)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--target", target, wheel, cwd=target)
    return target


def test_top_level_is_archspec_alone(wheel: Path, names: set[str]) -> None:
    distribution = "-".join(wheel.name.split("-")[:2])
    assert {name.split("/")[0] for name in names} == {"archspec", f"{distribution}.dist-info"}


@pytest.mark.parametrize("folder", LINKED)
def test_symlink_is_relative(folder: str) -> None:
    assert (ROOT / "archspec" / folder).readlink() == Path("..", folder)


@pytest.mark.parametrize("folder", LINKED)
def test_linked_folder_is_inside(folder: str, names: set[str]) -> None:
    suffixes = {".py", ".yaml"}
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    assert files, f"nothing to pack in {folder}/"
    assert {f"archspec/{path.relative_to(ROOT)}" for path in files} <= names


def test_types_are_announced(names: set[str]) -> None:
    assert "archspec/py.typed" in names


def test_installed_package_loads_its_specs(installed: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(installed)!r})
from importlib import resources
import archspec, archspec.blocks.registry, archspec.kernels, archspec.search
from archspec.spec.load import load_model
with resources.as_file(resources.files("archspec") / "specs" / "models") as models:
    print(archspec.__file__, *(load_model(path).d_model for path in models.glob("*.yaml")))
"""
    # -P and a foreign working directory, so that the checkout does not answer.
    file, *widths = run(sys.executable, "-P", "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed)
    assert len(widths) == len(list((ROOT / "specs" / "models").glob("*.yaml"))) > 0


def test_foreign_kernels_package_is_not_shadowed(tmp_path: Path) -> None:
    # HuggingFace publishes a top-level `kernels`, which transformers imports.
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    code = f"""
import sys
assert sys.path[0] == ""  # the repository root, ahead of everything else
sys.path.insert(1, {str(tmp_path)!r})
import kernels, archspec.kernels
print(kernels.__file__)
"""
    assert Path(run(sys.executable, "-c", code, cwd=ROOT)).is_relative_to(tmp_path)


@pytest.mark.parametrize("folder", ["blocks", "search"])
def test_bare_import_is_refused(folder: str) -> None:
    code = f"""
try:
    import {folder}
except ImportError as error:
    print(error)
"""
    assert f"write 'import archspec.{folder}'" in run(sys.executable, "-c", code, cwd=ROOT)
