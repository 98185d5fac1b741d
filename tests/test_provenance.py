"""Where a number comes from: a result that is being written is no change of what makes it."""

import subprocess
from pathlib import Path

import pytest

from embodied import provenance


def test_a_result_that_is_written_row_by_row_does_not_make_its_commit_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    for path in (results / "a.json", tmp_path / "code.py"):
        path.write_text("{}\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    monkeypatch.setattr(provenance, "RESULTS", results)
    (results / "a.json").write_text('{"rows": [1]}\n')
    told = provenance.provenance()["git"]
    assert told["dirty"] is False
    (tmp_path / "code.py").write_text("x = 1\n")
    assert provenance.provenance()["git"] == told | {"dirty": True}
