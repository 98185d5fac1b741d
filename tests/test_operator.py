import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import BadConfig, BadInput
from embodied.hardware.base import Account, Moment
from embodied.hardware.scripted import ScriptedOperator
from embodied.hardware.silent import SilentOperator
from embodied.hardware.teleoperator import TeleoperatorOperator
from embodied.testing.teleoperator import Button, RecordedTeleoperator, Speechless

EXPERT = np.array([0.5, -0.5], np.float32)
RICH = Account(steps=10_000, human_steps=0)


def moment(step, progress, done=0.0):
    return Moment(
        step=step,
        progress=progress,
        done=done,
        policy_action=np.zeros(2, np.float32),
        expert_action=lambda: EXPERT,
    )


def watch(operator, progress, account=RICH):
    operator.begin_episode(account)
    return [operator.decide(moment(i, p)) is not None for i, p in enumerate(progress)]


def test_it_takes_over_when_progress_stalls_and_hands_back_after_its_time():
    operator = ScriptedOperator(budget=0.5, patience=3, takeover=2)
    acted = watch(operator, [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3])
    assert acted == [False] * 5 + [True, True] + [False] * 2


def test_it_stays_away_while_progress_is_made():
    operator = ScriptedOperator(budget=0.5, patience=3, takeover=2)
    assert not any(watch(operator, np.linspace(0, 1, 40)))


def test_it_leaves_a_finished_task_alone_and_not_one_that_only_came_close():
    operator = ScriptedOperator(budget=0.5, patience=3, takeover=2)
    operator.begin_episode(RICH)
    assert not any(operator.decide(moment(i, 0.95, done=0.9)) is not None for i in range(20))
    operator.begin_episode(RICH)
    assert any(operator.decide(moment(i, 0.95, done=0.1)) is not None for i in range(20))


def test_it_hands_back_as_soon_as_progress_recovers():
    operator = ScriptedOperator(budget=0.5, patience=2, takeover=30, recovery=0.2)
    acted = watch(operator, [0.1, 0.1, 0.1, 0.15, 0.2, 0.35, 0.4])
    assert acted == [False, False, True, True, True, False, False]


@given(
    st.floats(0.01, 1.0),
    st.integers(1, 6),
    st.integers(1, 12),
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
)
def test_at_no_moment_of_the_run_has_it_overspent_its_budget(budget, patience, takeover, lengths):
    operator = ScriptedOperator(budget=budget, patience=patience, takeover=takeover)
    steps = human = 0
    for length in lengths:
        operator.begin_episode(Account(steps=steps, human_steps=human))
        for step in range(length):
            human += operator.decide(moment(step, 0.0)) is not None
            steps += 1
            assert human <= budget * steps + 1e-9
    if budget == 1.0 and lengths[0] > patience:
        assert human


def test_the_account_of_the_run_so_far_counts():
    poor = Account(steps=1000, human_steps=190)
    stalled = [0.0] * 30
    assert not any(watch(ScriptedOperator(budget=0.15, patience=2, takeover=5), stalled, poor))
    assert any(watch(ScriptedOperator(budget=0.15, patience=2, takeover=5), stalled, RICH))


def test_without_an_estimate_it_never_believes_in_progress():
    operator = ScriptedOperator(budget=1.0, patience=2, takeover=1)
    assert any(watch(operator, [np.nan] * 5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 1.5, "patience": 1, "takeover": 1}, "budget is 1.5; it is a share"),
        ({"budget": 0.1, "patience": 0, "takeover": 1}, "patience is 0; it needs at least 1"),
    ],
)
def test_an_impossible_setting_is_refused(settings, message):
    with pytest.raises(BadConfig, match=message):
        ScriptedOperator(**settings)


def test_nobody_never_acts():
    assert not any(watch(SilentOperator(), [0.0] * 20))


AXES = {"delta_x": (1.0, 0.0), "gripper": (-1.0, 1.0)}


def test_a_lerobot_teleoperator_acts_while_its_holder_intervenes():
    device = RecordedTeleoperator(
        actions=[{"delta_x": 0.25, "gripper": 0.0}] * 3, intervenes=[False, True, False]
    )
    operator = TeleoperatorOperator(device, AXES)
    assert device.is_connected
    operator.begin_episode(RICH)
    said = [operator.decide(moment(i, 0.0)) for i in range(3)]
    assert [action is not None for action in said] == [False, True, False]
    assert said[1].tolist() == [0.25, 1.0]
    operator.close()
    assert not device.is_connected


@pytest.mark.parametrize(
    ("button", "verdict"),
    [(Button.SUCCESS, "success"), (Button.FAILURE, "failure"), (Button.AGAIN, "discard")],
)
def test_the_buttons_of_a_lerobot_teleoperator_end_the_episode(button, verdict):
    device = RecordedTeleoperator(actions=[{}] * 2, intervenes=[False] * 2, buttons={1: button})
    operator = TeleoperatorOperator(device, AXES)
    operator.begin_episode(RICH)
    operator.decide(moment(0, 0.0))
    assert operator.verdict() is None
    operator.decide(moment(1, 0.0))
    assert operator.verdict() == verdict


def test_a_device_that_reports_no_events_is_refused():
    with pytest.raises(BadConfig, match="speechless' has no get_teleop_events"):
        TeleoperatorOperator(Speechless(), AXES)


def test_a_device_whose_action_lacks_a_key_is_refused_naming_it():
    device = RecordedTeleoperator(actions=[{"delta_x": 0.0}], intervenes=[True])
    operator = TeleoperatorOperator(device, AXES)
    operator.begin_episode(RICH)
    with pytest.raises(BadInput, match="lacks gripper; it has delta_x"):
        operator.decide(moment(0, 0.0))
