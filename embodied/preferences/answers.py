"""The six answers to "which clip is better?", and what each means for learning."""

from enum import StrEnum


class Answer(StrEnum):
    """What a rater says of a pair of clips; ``left`` is the query's first clip.

    Where the sides were shown swapped, the answer is turned back (`mirrored`) before it is kept, so
    that nobody who learns from answers has to know where a clip was shown.
    """

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    """Equally good."""
    BOTH_BAD = "both_bad"
    """Equally bad, and neither is what is wanted."""
    CANT_TELL = "cant_tell"
    """The clips do not show it: the dashboard counts it against why the query was asked."""
    SKIP = "skip"
    """No answer wanted: says nothing of the clips, and is counted as well."""

    @property
    def target(self) -> float | None:
        """Probability that the first clip is the better one; None: no term in a loss."""
        return TARGETS[self]

    @property
    def both_negative(self) -> bool:
        """Whether each clip is a negative example as well, whatever it is compared with."""
        return self is Answer.BOTH_BAD

    @property
    def mirrored(self) -> "Answer":
        """The same opinion, with the clips in each other's place."""
        return {Answer.LEFT: Answer.RIGHT, Answer.RIGHT: Answer.LEFT}.get(self, self)


TARGETS: dict[Answer, float | None] = {
    Answer.LEFT: 1.0,
    Answer.RIGHT: 0.0,
    Answer.TIE: 0.5,
    Answer.BOTH_BAD: 0.5,
    Answer.CANT_TELL: None,
    Answer.SKIP: None,
}
