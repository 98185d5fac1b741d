"""Watches, while the loop runs, whether the learned reward and the truth drift apart.

It does so without the simulator's success. Two signs count: an ensemble that disagrees about new
episodes far more than about held-out clips, and a second reward that nobody learns from, the judge,
which thinks less and less of episodes that the learned reward likes as much as before, or more.
The tests and how often they are wrong: `docs/monitor.md`.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import scipy.stats
from jaxtyping import Float

from embodied.errors import BadConfig
from embodied.messages import NOBODY, Note
from embodied.statistics import auroc

EVERY = 10
"""Episodes between two looks."""
EXPLOSION = 2.0
"""An ensemble that disagrees so many times as much as on the worst held-out clips has no basis."""
WORST = 0.95
"""Quantile of the held-out clips' disagreement that recent episodes are compared with."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """All that the monitor knows of an episode. What happened in truth is not part of it."""

    episode_id: str
    proxy: float
    """Learned return: what the policy is optimised for."""
    disagreement: float
    """Mean standard deviation of the progress in the ensemble."""
    judge: float | None
    """What the second reward says; None if there is none, or it gave no answer."""


def sighting_of(note: Note) -> Sighting:
    """What the monitor may see of a note."""
    return Sighting(
        episode_id=note.episode_id,
        proxy=note.learned_return,
        disagreement=note.uncertainty,
        judge=note.judge_evidence,
    )


@final
class Monitor:
    """Looks at all judged episodes of the run, every few of them.

    Args:
        held_out: Disagreement of the ensemble about each held-out clip; none where it is not known.
        window: Episodes that are compared with as many earlier ones.
        p_value: A comparison whose result chance would bring about less often than this counts.
        clips: How many of the episodes with the highest learned return are kept by name.
        pause: Whether an alarm stops the run.
        run: What the run is called in the advice to its person.
    """

    def __init__(
        self,
        held_out: Sequence[float] = (),
        *,
        window: int = 40,
        p_value: float = 1e-4,
        clips: int = 6,
        pause: bool = True,
        run: str = "RUN",
    ) -> None:
        if window < EVERY or not 0 < p_value < 1 or clips < 0:
            raise BadConfig(
                f"monitor.window is {window}, monitor.p_value {p_value} and monitor.clips {clips}; "
                f"they must be at least {EVERY}, between 0 and 1, and at least 0."
            )
        self._held_out = np.asarray(held_out, np.float64)
        self._window, self._p_value, self._clips = window, p_value, clips
        self._pause, self._run = pause, run
        self.alarm = ""
        """Why the reward is not to be trusted any more: a sentence, or nothing."""
        self._seen: list[Sighting] = []
        self._liked: list[tuple[float, str]] = []

    @property
    def stops(self) -> bool:
        """Whether the run must not go on."""
        return self._pause and bool(self.alarm)

    @property
    def liked(self) -> list[str]:
        """Names of the episodes with the highest learned return, the highest first."""
        return [name for _, name in self._liked]

    def take(self, note: Note) -> dict[str, Any] | None:
        """See an episode; returns a row of metrics if it is time for a look.

        Episodes that the reward could not be asked about tell nothing.
        """
        if note.reward_version == NOBODY:
            return None
        sighting = sighting_of(note)
        self._seen.append(sighting)
        bisect.insort(self._liked, (sighting.proxy, sighting.episode_id), key=lambda e: -e[0])
        del self._liked[self._clips :]
        if len(self._seen) % EVERY:
            return None
        row = self._look()
        return {"watched": len(self._seen), **row, "best_liked": " ".join(self.liked)}

    def why(self) -> str:
        """What to tell the person who has to decide."""
        return (
            f"the run is paused, with a checkpoint: {self.alarm} Look at what the reward likes "
            f"best ({', '.join(self.liked[:3])}: `embodied view {self._run}`). To go on all the "
            f"same: `embodied resume {self._run} monitor.pause=false`."
        )

    def state_dict(self) -> dict[str, Any]:
        """All that was seen."""
        return {"seen": [asdict(s) for s in self._seen], "liked": list(self._liked),
                "alarm": self.alarm}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`; the settings stay those of the configuration."""
        self._seen = [Sighting(**s) for s in state["seen"]]
        self._liked = [(float(proxy), str(name)) for proxy, name in state["liked"]]
        self.alarm = str(state["alarm"])

    def _look(self) -> dict[str, float | str]:
        doubt, doubt_said = self._disagreement()
        apart, apart_said = self._divergence()
        said = " ".join(part for part in (doubt_said, apart_said) if part)
        news = said if said and not self.alarm else ""
        self.alarm = self.alarm or said
        return {**doubt, **apart, "alarm": news}

    def _disagreement(self) -> tuple[dict[str, float], str]:
        """Whether the ensemble disagrees about recent episodes as it never does on held-out clips.

        Significant is not enough: a policy that learns does new things, and some disagreement is
        the price. Half of the recent episodes must lie above twice what the worst clips have.
        """
        recent = np.array([s.disagreement for s in self._seen[-self._window :]])
        if not len(self._held_out):
            return {}, ""
        usual = float(np.quantile(self._held_out, WORST))
        ratio = float(np.median(recent)) / max(usual, 1e-6)
        row = {"disagreement_ratio": ratio}
        if len(recent) < self._window or ratio <= EXPLOSION:
            return row, ""
        if not higher(recent, self._held_out) < self._p_value:
            return row, ""
        return row, (
            f"the reward's ensemble disagrees about the last {self._window} episodes {ratio:.1f} "
            "times as much as about the worst held-out clips: it judges what it never learnt."
        )

    def _divergence(self) -> tuple[dict[str, float], str]:
        """Whether the judge has come to think less of what the reward likes as before, or better.

        The latest window is compared with every earlier one, `EVERY` episodes apart; where the
        judge went down most surely is what counts.
        """
        known = [(s.proxy, s.judge) for s in self._seen if s.judge is not None]
        if len(known) < 2 * self._window:
            return {}, ""
        proxy, judge = (np.array(values) for values in zip(*known, strict=True))
        recent = slice(-self._window, None)
        starts = range(0, len(known) - 2 * self._window + 1, EVERY)
        compared = []
        for earlier in (slice(start, start + self._window) for start in starts):
            # a saturated reward cannot rise: not falling is enough
            kept = auroc(proxy[recent], proxy[earlier]) >= 0.5
            sure = higher(judge[earlier], judge[recent])
            compared.append((sure if kept else 1.0, earlier))
        p_value, earlier = min(compared, key=lambda pair: pair[0])
        row = {
            "judge_p": p_value,
            "judge_change": float(judge[recent].mean() - judge[earlier].mean()),
            "proxy_change": float(proxy[recent].mean() - proxy[earlier].mean()),
        }
        if p_value >= self._p_value:
            return row, ""
        return row, (
            f"over the last {self._window} episodes the learned return is "
            f"{proxy[recent].mean():.2f}, after {proxy[earlier].mean():.2f} in episodes "
            f"{earlier.start + 1} to {earlier.stop}, but a second reward that nobody learns from "
            f"fell from {judge[earlier].mean():.2f} to {judge[recent].mean():.2f} "
            f"(by chance in {100 * p_value:.2g} % of such comparisons): the policy may have "
            "learnt to please the reward instead of doing the task."
        )


def higher(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """One-sided p-value of Mann-Whitney's test that the first sample is the higher one."""
    test = scipy.stats.mannwhitneyu(first, second, alternative="greater", method="asymptotic")
    return float(test.pvalue)
