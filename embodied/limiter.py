"""How many samples a learner draws for each step that actors insert, as pure logic.

Samples are kept within ``slack`` inserts of the ratio, and each side is asked *before* it moves, so
that a move may overshoot by its own size. A limiter that asks whether the move would stay inside
the band is a trap: with a narrow band, the next sample waits for an insert and that insert for the
sample, for ever. Asked beforehand, one side can always move, whatever the sizes of their moves.
"""

from dataclasses import dataclass

from embodied.errors import BadConfig


@dataclass(kw_only=True)
class SamplesPerInsert:
    """Decides who may go on. It never waits: whoever asks decides what to do meanwhile.

    The caller chooses the units: say, environment steps as inserts and updates as samples.

    Args:
        ratio: Samples per insert to aim at.
        minimum: Inserts before the first sample.
        slack: Inserts by which either side may run ahead; at least 1, because a band narrower than
            one insert cannot be kept.
    """

    ratio: float
    minimum: int
    slack: float
    inserts: int = 0
    samples: int = 0

    def __post_init__(self) -> None:
        if not self.ratio > 0:
            raise BadConfig(f"samples per insert must be positive, not {self.ratio}.")
        if not self.minimum >= 0:
            raise BadConfig(f"the minimum before sampling must not be negative: {self.minimum}.")
        if not self.slack >= 1:
            raise BadConfig(
                f"a slack of {self.slack} inserts is less than one move of an actor; "
                "it must be at least 1."
            )

    def can_insert(self) -> bool:
        """Whether actors are not too far ahead of the learner."""
        return self.inserts < self.minimum or self.surplus() > -self.ratio * self.slack

    def can_sample(self) -> bool:
        """Whether there is enough data, and the learner is not too far ahead of the actors."""
        return self.inserts >= self.minimum and self.surplus() < self.ratio * self.slack

    def insert(self, count: int) -> None:
        """Count inserts."""
        self.inserts += count

    def sample(self, count: int) -> None:
        """Count samples."""
        self.samples += count

    def surplus(self) -> float:
        """Samples drawn beyond what the inserts so far deserve; negative if actors are ahead."""
        return self.samples - self.ratio * max(0, self.inserts - self.minimum)

    def state_dict(self) -> dict[str, int]:
        """The two counts; the rest is configuration."""
        return {"inserts": self.inserts, "samples": self.samples}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from stored counts."""
        self.inserts, self.samples = state["inserts"], state["samples"]
