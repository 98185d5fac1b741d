"""Print every claim of every benchmark, the failed ones first: ``make claims``."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def read_claims(directory: Path) -> list[dict[str, Any]]:
    """Claims of all results, each with its benchmark's name; failed ones first."""
    claims = [
        {**claim, "benchmark": path.stem}
        for path in sorted(directory.glob("*.json"))
        for claim in json.loads(path.read_text()).get("claims", [])
    ]
    return sorted(claims, key=lambda claim: claim["holds"])


def line(claim: dict[str, Any]) -> str:
    """One claim as one line."""
    interval = "" if claim["low"] is None else f" [{claim['low']:.3g}, {claim['high']:.3g}]"
    measured = "not measured" if claim["measured"] is None else f"{claim['measured']:.4g}"
    verdict = "holds " if claim["holds"] else "FAILED"
    target = f"{claim.get('comparison', '>=')} {claim['target']:.4g}"
    return f"{verdict}  {measured}{interval}  ({target})  {claim['claim']}  [{claim['benchmark']}]"


def main() -> None:
    """Print all claims and how many hold."""
    claims = read_claims(RESULTS)
    for claim in claims:
        print(line(claim))
    print(f"{sum(claim['holds'] for claim in claims)} of {len(claims)} claims hold.")


if __name__ == "__main__":
    main()
