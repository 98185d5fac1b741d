"""An operator who never acts: the policy is on its own."""

from typing import final

from embodied.hardware.base import Account, Moment, Operator, Verdict


@final
class SilentOperator(Operator):
    """Watches and never takes over; for evaluation, validation and runs without a human."""

    needs_progress = False

    def begin_episode(self, account: Account) -> None:
        """Nothing to forget."""

    def decide(self, moment: Moment) -> None:
        """Leave the policy in control."""
        return None

    def verdict(self) -> Verdict | None:
        """Let the episode go on."""
        return None

    def close(self) -> None:
        """Nothing to let go."""
