"""What is installed is what is in the folders."""

import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
MAPPED = {folder: package for package, folder in SETUPTOOLS["package-dir"].items()}


def _package(folder: Path) -> str:
    first, *rest = folder.relative_to(ROOT).parts
    return ".".join([MAPPED.get(first, first), *rest])


def _folders_with_code() -> list[Path]:
    tops = [ROOT / "embodied", *(ROOT / folder for folder in MAPPED)]
    return sorted(path.parent for top in tops for path in top.rglob("__init__.py"))


def test_the_list_of_packages_is_the_list_of_folders() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(map(_package, _folders_with_code()))


def test_every_module_is_inside_a_package() -> None:
    tops = [ROOT / "embodied", *(ROOT / folder for folder in MAPPED)]
    stray = [path for top in tops for path in top.rglob("*.py")
             if not (path.parent / "__init__.py").exists()]  # fmt: skip
    assert stray == []


@pytest.mark.parametrize("folder", sorted(MAPPED))
def test_mapped_folders_are_imported_from_this_tree(folder: str) -> None:
    module = import_module(MAPPED[folder])
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / folder


def test_the_wheel_holds_every_module_and_every_yaml_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    source.mkdir()
    _copy_tracked_and_new_files(source)
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == _expected_files()


def _copy_tracked_and_new_files(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in filter(lambda name: (ROOT / name).is_file(), listed):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())


def _expected_files() -> set[str]:
    expected = {"embodied/py.typed"}
    for folder in _folders_with_code():
        package = _package(folder).replace(".", "/")
        expected |= {f"{package}/{path.name}" for path in folder.glob("*.py")}
    static = SETUPTOOLS["package-data"]
    for package, patterns in static.items():
        folder = ROOT / next(
            (f for f, p in MAPPED.items() if p == package), package.replace(".", "/")
        )
        for pattern in patterns:
            expected |= {
                f"{package.replace('.', '/')}/{path.relative_to(folder)}"
                for path in folder.glob(pattern)
            }
    return expected


def test_the_lock_file_names_exact_versions_and_no_place_to_get_them_from() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    wrong = [line for line in lines if line.count("==") != 1 or "/" in line or "://" in line]
    assert wrong == []


def test_the_lock_file_holds_everything_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {_name(line) for line in asked}
    locked = {_name(line) for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert names - locked == set()


def _name(requirement: str) -> str:
    for stop in "[=<>~! ":
        requirement = requirement.partition(stop)[0]
    return requirement.lower().replace("_", "-")
