"""Which suites and tasks there are, without importing any simulator.

The tables are compared with the packages by a test.
"""

from collections.abc import Iterable

from embodied.errors import UnknownName

METAWORLD = {
    "assembly-v3": "pick up the ring by its handle and put it onto the peg",
    "basketball-v3": "pick up the basketball and drop it through the hoop",
    "bin-picking-v3": "move the block from one bin into the other",
    "box-close-v3": "pick up the lid and close the box with it",
    "button-press-topdown-v3": "press the button down from above",
    "button-press-topdown-wall-v3": "reach over the wall and press the button down from above",
    "button-press-v3": "push the button in",
    "button-press-wall-v3": "go around the wall and push the button in",
    "coffee-button-v3": "push the button of the coffee machine",
    "coffee-pull-v3": "pull the mug away from the coffee machine to the goal",
    "coffee-push-v3": "push the mug under the coffee machine",
    "dial-turn-v3": "turn the dial",
    "disassemble-v3": "lift the ring off the peg",
    "door-close-v3": "close the door",
    "door-lock-v3": "lock the door by turning its lock",
    "door-open-v3": "open the door",
    "door-unlock-v3": "unlock the door by turning its lock",
    "drawer-close-v3": "push the drawer closed",
    "drawer-open-v3": "open the drawer",
    "faucet-close-v3": "turn the faucet closed",
    "faucet-open-v3": "turn the faucet open",
    "hammer-v3": "pick up the hammer and drive the nail into the wall",
    "hand-insert-v3": "put the gripper into the hole",
    "handle-press-side-v3": "press the handle down from the side",
    "handle-press-v3": "press the handle down",
    "handle-pull-side-v3": "pull the handle up from the side",
    "handle-pull-v3": "pull the handle up",
    "lever-pull-v3": "pull the lever up",
    "peg-insert-side-v3": "pick up the peg and put it sideways into the hole",
    "peg-unplug-side-v3": "pull the peg sideways out of its hole",
    "pick-out-of-hole-v3": "pick the puck out of the hole and bring it to the goal",
    "pick-place-v3": "pick up the puck and bring it to the goal",
    "pick-place-wall-v3": "pick up the puck and bring it over the wall to the goal",
    "plate-slide-back-side-v3": "pull the plate sideways out of the net",
    "plate-slide-back-v3": "pull the plate out of the net",
    "plate-slide-side-v3": "slide the plate sideways into the net",
    "plate-slide-v3": "slide the plate into the net",
    "push-back-v3": "pull the block back to the goal",
    "push-v3": "push the puck to the goal",
    "push-wall-v3": "push the puck around the wall to the goal",
    "reach-v3": "move the gripper to the goal",
    "reach-wall-v3": "move the gripper around the wall to the goal",
    "shelf-place-v3": "pick up the block and put it on the shelf",
    "soccer-v3": "push the ball into the soccer goal",
    "stick-pull-v3": "pick up the stick and pull the thermos with it",
    "stick-push-v3": "pick up the stick and push the thermos with it",
    "sweep-into-v3": "sweep the block into the hole",
    "sweep-v3": "sweep the block off the table",
    "window-close-v3": "slide the window closed",
    "window-open-v3": "slide the window open",
}

ROBOSUITE = {
    "Door": "turn the handle and open the door",
    "Lift": "lift the red cube",
    "NutAssembly": "put the square nut and the round nut onto their pegs",
    "NutAssemblyRound": "put the round nut onto the round peg",
    "NutAssemblySingle": "put the nut onto its peg",
    "NutAssemblySquare": "put the square nut onto the square peg",
    "PickPlace": "put every object into its bin",
    "PickPlaceBread": "put the bread into its bin",
    "PickPlaceCan": "put the can into its bin",
    "PickPlaceCereal": "put the cereal box into its bin",
    "PickPlaceMilk": "put the milk carton into its bin",
    "PickPlaceSingle": "put the object into its bin",
    "Stack": "stack the red cube on the green cube",
    "ToolHang": "put the stand into its base and hang the tool on it",
    "Wipe": "wipe the marks off the table",
}

GYMNASIUM_MUJOCO = {
    "Ant-v5": "walk forward",
    "CartPole-v1": "keep the pole upright",
    "Humanoid-v5": "walk forward without falling",
    "MountainCarContinuous-v0": "drive the car up to the flag",
    "Pendulum-v1": "swing the pendulum up and hold it upright",
}

PUSHT = {"PushT-v0": "push the T onto the green T"}

XMAGICAL = {
    "SweepToTop": "sweep all debris into the strip at the top",
    "Avoiding": "push the debris into the strip at the top and keep clear of the striped region",
    "Grouping": "bring the debris together and push it into the strip at the top",
}

WAYS: dict[str, tuple[str, dict[str, str | int]]] = {
    "drawer-open-right": ("metaworld", {"task": "drawer-open-v3", "max_episode_steps": 100}),
    "button-press-clear": (
        "metaworld", {"task": "button-press-topdown-v3", "max_episode_steps": 100},
    ),
    "drawer-close-low": ("metaworld", {"task": "drawer-close-v3", "max_episode_steps": 100}),
    "lift-gently": ("robosuite", {"task": "Lift", "max_episode_steps": 140}),
    "lift-level": ("robosuite", {"task": "Lift", "max_episode_steps": 140}),
    "lift-right": ("robosuite", {"task": "Lift", "max_episode_steps": 140}),
    "sweep-avoiding": ("xmagical", {"task": "Avoiding"}),
    "sweep-grouping": ("xmagical", {"task": "Grouping"}),
}  # fmt: skip
"""Tasks with a way of doing them (`ways_catalogue`): their suite, and what the environment must be
told so that a demonstrator has the time for a detour."""

_SUITES: dict[str, dict[str, str]] = {
    "metaworld": METAWORLD,
    "robosuite": ROBOSUITE,
    "gymnasium_mujoco": GYMNASIUM_MUJOCO,
    "pusht": PUSHT,
    "xmagical": XMAGICAL,
}

_TITLES = {
    "metaworld": "Meta-World",
    "robosuite": "robosuite",
    "gymnasium_mujoco": "Gymnasium",
    "pusht": "Push-T",
    "xmagical": "X-MAGICAL",
}


def suites() -> tuple[str, ...]:
    """Names of the suites, as in ``env=<suite>``."""
    return tuple(_SUITES)


def tasks(suite: str) -> dict[str, str]:
    """Each task of a suite with its instruction.

    Raises:
        UnknownName: if there is no such suite.
    """
    if suite not in _SUITES:
        raise UnknownName("suite", suite, _SUITES)
    return dict(_SUITES[suite])


def check_task(suite: str, task: str) -> None:
    """Whether a suite has a task.

    Raises:
        UnknownName: naming the near ones.
    """
    if task not in tasks(suite):
        raise UnknownName(f"{_TITLES[suite]} task", task, tasks(suite))


def instructions(order: Iterable[str]) -> list[str]:
    """The instructions of these suites' tasks, suite by suite, each once."""
    return list(dict.fromkeys(text for suite in order for text in tasks(suite).values()))


def setting_of(way: str) -> tuple[str, dict[str, str | int]]:
    """The suite of a way, and the arguments of its environment.

    Raises:
        UnknownName: if there is no such way.
    """
    if way not in WAYS:
        raise UnknownName("way", way, WAYS)
    return WAYS[way]
