"""Rendered moments of experts' episodes, with sentences that are true of them.

What a text-image model learns from: the picture, what the robot is to do, how far it is (from the
simulator's success), and where hand and object are (from privileged state). Sentences are made from
templates and synonyms; each carries a key, and is true of every scene that has the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from embodied.envs.base import TaskEnv
from embodied.types import IMAGES, STATE

SHARES = (0.0, 0.3, 0.6, 0.85, 1.0)
"""Moments of an episode that are kept, as shares of the time until success."""
SETTLE = 6
"""Steps after the first success until the last moment."""
NEAR_M = 0.08
"""Hand and object this close count as together."""

STAGES = {
    "todo": ("the robot has not begun to {do}", "before anything is done: {do}"),
    "doing": ("the robot is in the middle of it: {do}", "half done: {do}"),
    "done": ("{do}", "the robot has finished: {do}", "it is done: {do}"),
}
TASK = ("a robot that is to {do}", "the task is to {do}")
HAND = {
    "at": ("the hand is at the object", "the gripper touches the thing"),
    "away": ("the hand is away from the object", "the gripper is far from the thing"),
}
MOVED = {
    "moved": ("the object has been moved", "the thing is no longer where it was"),
    "unmoved": ("the object has not been moved", "the thing is where it was at first"),
}
SYNONYMS = {
    "pick up": ("pick up", "grasp", "take", "lift up"),
    "push": ("push", "shove", "press"),
    "pull": ("pull", "draw", "drag"),
    "bring": ("bring", "carry", "move"),
    "put": ("put", "place", "set"),
    "turn": ("turn", "rotate", "twist"),
    "slide": ("slide", "push"),
    "puck": ("puck", "disc"),
    "block": ("block", "cube"),
    "mug": ("mug", "cup"),
    "goal": ("goal", "target"),
    "gripper": ("gripper", "hand"),
    "faucet": ("faucet", "tap"),
    "button": ("button", "switch"),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One moment of an episode."""

    task: str
    instruction: str
    episode: int
    stage: str
    """``todo``, ``doing`` or ``done``."""
    keys: frozenset[str]
    """Of the sentences that are true of it."""
    picture: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence, true of every scene that has its key."""

    key: str
    text: str


def expert_scenes(env: TaskEnv, seeds: Sequence[int], camera: str) -> list[Scene]:
    """Moments of the expert's episode for each seed; an episode that fails has no ``done``."""
    return [scene for seed in seeds for scene in _episode(env, seed, camera)]


def sentences(scene: Scene, rng: np.random.Generator) -> list[Sentence]:
    """One sentence for each key of a scene, worded at random."""
    return [
        Sentence(key=key, text=paraphrase(str(rng.choice(_templates(key))), scene, rng))
        for key in sorted(scene.keys)
    ]


def paraphrase(template: str, scene: Scene, rng: np.random.Generator) -> str:
    """The template about the scene's task, some of its words replaced by synonyms."""
    said = scene.instruction
    for word, others in SYNONYMS.items():
        said = said.replace(word, str(rng.choice(others)))
    return template.replace("{do}", said)


def _templates(key: str) -> tuple[str, ...]:
    kind, _, value = key.partition(":")
    if kind == "task":
        return TASK
    if kind == "stage":
        return STAGES[value.partition(":")[0]]
    return (HAND if kind == "hand" else MOVED)[value]


def _episode(env: TaskEnv, seed: int, camera: str) -> list[Scene]:
    observation, info = env.reset(seed=seed)
    seen, success = [(observation, info)], -1
    for step in range(1, env.max_episode_steps + 1):
        observation, _, _, _, info = env.step(env.expert_action())
        seen.append((observation, info))
        if success < 0 and info["success"]:
            success = step
        if success >= 0 and step >= success + SETTLE:
            break
    end = success if success >= 0 else len(seen) - 1
    moments = [round(share * end) for share in SHARES[:-1]]
    moments.append(len(seen) - 1)
    first = np.asarray(seen[0][1]["privileged"]["object"][:3])
    return [
        _scene(env, seed, seen[moment], "todo" if moment == 0 else "doing", camera, first)
        for moment in moments
    ]


def _scene(
    env: TaskEnv,
    seed: int,
    seen: tuple[dict[str, np.ndarray], dict[str, object]],
    stage: str,
    camera: str,
    first: np.ndarray,
) -> Scene:
    observation, info = seen
    privileged = info["privileged"]
    assert isinstance(privileged, dict)
    place = np.asarray(privileged["object"][:3])
    near = np.linalg.norm(observation[STATE][:3] - place) < NEAR_M
    moved = np.linalg.norm(place - first) > NEAR_M / 2
    stage = "done" if info["success"] else stage
    return Scene(
        task=env.task,
        instruction=env.instruction,
        episode=seed,
        stage=stage,
        keys=frozenset(
            {
                f"task:{env.task}",
                f"stage:{stage}:{env.task}",
                f"hand:{'at' if near else 'away'}",
                f"moved:{'moved' if moved else 'unmoved'}",
            }
        ),
        picture=observation[f"{IMAGES}{camera}"],
    )
