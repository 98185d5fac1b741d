"""Dependencies point one way, and what is heavy is imported only where it is wrapped."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "envs": "embodied.envs",
    "policies": "embodied.policies",
    "reward_models": "embodied.reward_models",
    "hardware": "embodied.hardware",
}
SHARED = {
    "embodied.types", "embodied.errors", "embodied.encoders", "embodied.durable",
    "embodied.checkpoint", "embodied.epic", "embodied.wire",
}  # fmt: skip
"""What the folders may use of the run-time; see `docs/architecture.md`."""

WRAPPERS: dict[str, set[str]] = {
    "wandb": {"embodied/metrics.py"},
    "ray": {"embodied/ray_processes.py"},
    "rerun": {"embodied/view.py"},
    "robosuite": {
        "envs/robosuite.py",
        "envs/robosuite_control.py",
        "envs/robosuite_experts.py",
    },
    "metaworld": {"envs/metaworld.py"},
    "pymunk": {"envs/xmagical_robots.py", "envs/xmagical_world.py"},
}


def _modules(folder: str) -> dict[str, Path]:
    """Every module of a folder, by its dotted name."""
    package = FOLDERS.get(folder, folder)
    names = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        names[".".join([package, *parts]).removesuffix(".__init__")] = path
    return names


def _imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


RUNTIME = _modules("embodied")
ALL = {name: path for folder in ("embodied", *FOLDERS) for name, path in _modules(folder).items()}


@pytest.mark.parametrize("name", sorted(ALL))
def test_dependencies_point_one_way(name: str) -> None:
    used = _imports(ALL[name]) & set(ALL)
    folder = next((f for f, package in FOLDERS.items() if name.startswith(package)), None)
    if folder is None:
        in_folders = {u for u in used if u.startswith(tuple(FOLDERS.values()))}
        bases = tuple(f"{package}.base" for package in FOLDERS.values())
        in_folders = {u for u in in_folders if not u.startswith(bases)}
        allowed = {*FOLDERS.values(), "embodied.envs.catalogue", "embodied.envs.ways"}
        extra = in_folders - allowed
        assert not extra or name.startswith("embodied.testing"), (
            f"{name} knows an implementation: {sorted(extra)}; build it from its _target_"
        )
    else:
        foreign = {u for u in used if not u.startswith(FOLDERS[folder])} - SHARED - {"embodied"}
        assert not foreign, f"{name} may use {sorted(SHARED)}, not {sorted(foreign)}"


@pytest.mark.parametrize("library", sorted(WRAPPERS))
def test_each_heavy_library_is_imported_only_by_what_wraps_it(library: str) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in ALL.values()
        if any(used.split(".")[0] == library for used in _imports(path))
    }
    assert importers <= WRAPPERS[library]


LIGHT = sorted(name for name in RUNTIME if not name.startswith("embodied.testing."))
"""A double of one of LeRobot's classes has to be a subclass of it."""


@pytest.mark.parametrize("name", LIGHT)
def test_no_module_of_the_run_time_imports_a_simulator_or_lerobot_as_it_loads(name: str) -> None:
    tree = ast.parse(RUNTIME[name].read_text())
    top = {n for node in tree.body for n in _imports_of(node)}
    assert not top & {"lerobot", "robosuite", "metaworld", "wandb", "ray", "rerun"}


def _imports_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "hydra", "omegaconf", "lerobot", "wandb", "ray", "rich", "mujoco")
    code = f"import sys, embodied.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
