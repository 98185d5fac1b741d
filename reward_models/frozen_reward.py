"""Rewards whose model is never trained: `fit` only finds the scale of what the model says."""

import abc
from collections.abc import Callable, Sequence

from embodied.reward_models.stored_reward import StoredReward
from embodied.types import Clip


class FrozenReward[Said](StoredReward, abc.ABC):
    """Asks a model that stays as it is; ``Said`` is what it says of a clip."""

    @abc.abstractmethod
    def ask(self, clip: Clip) -> Said:
        """What the model says of a clip, before calibration.

        Raises:
            BadInput: for a clip that cannot be scored, saying why.
            EmbodiedError: if the model gives no answer, or cannot be loaded.
        """

    @abc.abstractmethod
    def calibrate(self, successes: Sequence[Said], failures: Sequence[Said]) -> dict[str, float]:
        """Find the scale of what the model said of clips whose outcome is known; metrics."""

    def show(self, successes: Sequence[Clip]) -> Sequence[Clip]:
        """Keep what the model is to be shown; returns the successes that are left to calibrate on.

        Raises:
            BadInput: for a clip that cannot be shown, saying why.
        """
        return successes

    def fit(
        self,
        successes: Sequence[Clip],
        failures: Sequence[Clip],
        *,
        distractor_instructions: Sequence[str],
        seed: int,
        steps: int = 200,
        progress_callback: Callable[[float], None] | None = None,
    ) -> dict[str, float]:
        """Calibrate on clips whose outcome is known; the model stays as it is.

        Args:
            successes: Clips that end with the task complete.
            failures: Clips that never complete it.
            distractor_instructions: Not used: nothing is learned that could forget to read.
            seed: Not used, nothing is drawn.
            steps: Not used, nothing is updated.
            progress_callback: Is told the share of the work that is done, in [0, 1].

        Returns:
            What `calibrate` returns.

        Raises:
            BadInput: without a success, or for an unusable clip.
            EmbodiedError: if the model gives no answer, or cannot be loaded.
        """
        said: list[Said] = []
        successes = self.show(successes)
        clips = [*successes, *failures]
        for number, clip in enumerate(clips):
            said.append(self.ask(clip))
            if progress_callback is not None:
                progress_callback((number + 1) / len(clips))
        metrics = self.calibrate(said[: len(successes)], said[len(successes) :])
        self.version += 1
        return metrics
