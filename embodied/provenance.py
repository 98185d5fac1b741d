"""Where a number comes from: command, commit, versions and machine; and results as data.

A benchmark ends with `benchmark_result`: its rows, its claims and the provenance in one JSON file.
Whether a claim holds is computed from what was measured, never typed.
"""

import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from embodied.errors import BadInput

PACKAGES = (
    "embodied-rewards", "gymnasium", "lerobot", "metaworld", "mujoco", "numpy", "ray", "robosuite",
    "scipy", "timm", "torch",
)  # fmt: skip
"""Packages whose version may change a number."""

SOURCE = Path(__file__).resolve().parent.parent
RESULTS = SOURCE / "benchmarks" / "results"


def provenance() -> dict[str, Any]:
    """Command, commit, versions, machine and date; no path outside the project, no host name."""
    return {
        "command": command_line(sys.orig_argv),
        "git": _git(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(
                os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
            ),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def command_line(argv: Sequence[str]) -> str:
    """The command as typed; an absolute path becomes relative, or only its last part."""
    program, *arguments = argv
    if arguments and Path(arguments[0]).parent.name == "bin":  # a console script
        program, *arguments = arguments
    return " ".join([Path(program).name, *map(_without_private_path, arguments)])


def _without_private_path(argument: str) -> str:
    def shorten(match: re.Match[str]) -> str:
        path = Path(match[0])
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name

    return re.sub(r"(?<![\w./:])/[^\s=,'\"\]}]+", shorten, argument)


def _git() -> dict[str, Any] | None:
    """Commit, and whether tracked files other than results differ; None outside a repository."""
    commit = _run_git("rev-parse", "HEAD")
    if commit is None:
        return None
    # A result that is written row by row differs from its commit as soon as it has one.
    changed = _run_git("status", "--porcelain", "-uno", "--", f":(exclude){RESULTS}")
    return {"commit": commit, "dirty": changed is None or bool(changed)}


def _run_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(SOURCE), *arguments], capture_output=True, text=True, timeout=10
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Something that a benchmark set out to show, and what came out."""

    claim: str
    target: float
    measured: float
    low: float | None = None
    high: float | None = None
    """Bounds of the 95 % confidence interval, where there is one."""
    comparison: Literal[">=", "<="] = ">="
    """``>=``: at least the target; ``<=``: at most."""
    whole_interval: bool = False
    """Whether the whole interval must lie on the right side, not only the measured value."""

    @property
    def holds(self) -> bool:
        """Whether the measurement reaches the target; NaN never does.

        Raises:
            BadInput: if ``whole_interval`` is asked for without an interval.
        """
        judged = self.measured
        if self.whole_interval:
            bound = self.low if self.comparison == ">=" else self.high
            if bound is None:
                raise BadInput(f"the claim '{self.claim}' is judged by an interval and has none.")
            judged = bound
        return judged >= self.target if self.comparison == ">=" else judged <= self.target

    def to_dict(self) -> dict[str, Any]:
        """JSON fields, ``holds`` among them."""
        return {
            "claim": self.claim,
            "comparison": self.comparison,
            "target": self.target,
            "measured": self.measured,
            "low": self.low,
            "high": self.high,
            "judged_by": "interval" if self.whole_interval else "measured",
            "holds": self.holds,
        }


def benchmark_result(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    claims: Sequence[Claim],
    *,
    directory: Path = RESULTS,
) -> Path:
    """Write ``<directory>/<name>.json`` and return its path.

    Raises:
        BadInput: if the name is not a plain file name.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise BadInput(f"'{name}' cannot name a result; use letters, digits, '_', '-' and '.'.")
    result = {
        "name": name,
        "claims": [claim.to_dict() for claim in claims],
        "rows": list(rows),
        "provenance": provenance(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    unfinished = path.with_suffix(".json.part")
    unfinished.write_text(json.dumps(plain(result), indent=1, allow_nan=False) + "\n")
    unfinished.replace(path)
    return path


def earlier_rows(name: str, directory: Path = RESULTS) -> list[dict[str, Any]]:
    """Rows that `benchmark_result` wrote under this name; none, if there is no such result."""
    path = directory / f"{name}.json"
    return list(json.loads(path.read_text())["rows"]) if path.exists() else []


def plain(value: Any) -> Any:
    """The same value in JSON's types: arrays as lists, NaN and infinity as null.

    Raises:
        BadInput: if something in it has no such form.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "tolist"):  # NumPy and torch, without importing either
        return plain(value.tolist())
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise BadInput(f"a result cannot hold a {type(value).__name__}: {value!r}.")
