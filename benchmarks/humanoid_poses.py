"""Whether a humanoid's pose can be asked for in words alone, with the embedded text-image towers.

VLM-RM (Rocamonde et al., ICLR 2024) taught a humanoid to kneel from one sentence, with a CLIP as
large as ViT-bigG/14 and ten million steps. Here Humanoid-v5 is posed, not simulated, which asks
less: a search (CEM) over its joint angles sees the reward of the picture and nothing else; the
truth is geometry. Three pairs of towers: those that come with the package, which know Meta-World's
table; the same heads aligned on pictures of the humanoid in eleven of twelve poses with generated
sentences, the twelfth kept out; and these on shuffled sentences.

    python benchmarks/humanoid_poses.py
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from embodied.encoders import EfficientNetLite, SentenceEncoder
from embodied.envs.rendering import FreeView, Renderer
from embodied.provenance import Claim, benchmark_result
from embodied.reward_models.towers_aligned import AlignedTowers, Lessons, align, write_heads
from embodied.reward_models.vlm_rm import regularised
from embodied.statistics import comparisons, mean_interval
from embodied.types import Clip

LEGS: dict[str, tuple[dict[str, float], float]] = {
    "standing": ({"hip_y": -0.05, "knee": -0.1}, 0.0),
    "kneeling": ({"hip_y": 0.0, "knee": -1.6}, 0.0),
    "sitting on the floor": ({"hip_y": -1.6, "knee": -0.2}, 0.0),
    "lying on its back": ({"hip_y": -0.05, "knee": -0.1}, -np.pi / 2),
}
"""Joint angles in radians, the same for both legs, and the pitch of the body."""
ARMS: dict[str, dict[str, float]] = {
    "arms down": {"shoulder1": 0.9, "shoulder2": -0.5, "elbow": -1.5},
    "arms raised": {"shoulder1": -1.45, "shoulder2": 0.3, "elbow": -1.48},
    "arms stretched to the sides": {"shoulder1": -0.8, "shoulder2": -0.8, "elbow": -1.25},
}
"""Of the right arm; the left one's shoulder turns the other way."""
SAID = {
    "standing": ("standing", "on its feet", "upright on both legs"),
    "kneeling": ("kneeling", "on its knees", "down on both knees"),
    "sitting on the floor": ("sitting on the floor", "seated on the ground"),
    "lying on its back": ("lying on its back", "flat on the ground"),
    "arms down": ("arms down", "arms hanging at its sides", "lowered arms"),
    "arms raised": ("arms raised", "arms up", "hands above its head"),
    "arms stretched to the sides": ("arms stretched to the sides", "arms spread wide"),
}
"""Wordings that the heads are aligned on."""
TEMPLATES = ("a humanoid robot {legs} with {arms}", "a humanoid robot, {legs}, {arms}")
BASELINE = "a humanoid robot"
POSES = tuple(product(LEGS, ARMS))
ASKED = (("kneeling", "arms raised"), ("standing", "arms raised"), ("kneeling", "arms down"))
"""Poses that are kept out of training, one at a time, and then asked for."""
PICTURES, SPREAD = 40, 0.12
"""Pictures of each pose, and deviation of each joint in radians."""
ALPHA = 0.5
GENERATIONS, CANDIDATES, ELITES = 12, 48, 8
VIEW = FreeView(lookat=(0.0, 0.0, 0.85), distance=2.8, azimuth=150.0, elevation=-10.0, body="torso")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where the parts of the body are, in metres; what the towers never see."""

    knees: float
    """Height of the knees above the floor."""
    head: float
    hips: float
    hands: float
    """How far the hands reach beyond the head, along the body."""

    def is_pose(self, legs: str, arms: str) -> bool:
        """Whether a person would call it that; bounds lie midway between the poses drawn."""
        right_legs = {
            "standing": self.hips > 0.75,
            "kneeling": self.knees < 0.2 and self.hips > 0.35 and self.head > 0.8,
            "sitting on the floor": self.hips < 0.35 and self.head > 0.5,
            "lying on its back": self.head < 0.4,
        }[legs]
        lift = {
            "arms raised": self.hands > 0.1,
            "arms stretched to the sides": -0.35 < self.hands < 0.1,
            "arms down": self.hands < -0.35,
        }[arms]
        return right_legs and lift


class Humanoid:
    """Humanoid-v5 put into poses."""

    def __init__(self) -> None:
        made: Any = gym.make("Humanoid-v5")
        self._model, self._data = made.unwrapped.model, made.unwrapped.data
        self._rest = made.unwrapped.init_qpos.copy()
        self._renderer = Renderer(self._model, {"front": VIEW}, image_size=96, quality="fast")
        hinges = range(1, self._model.njnt)
        self._address = {self._model.joint(j).name: int(self._model.jnt_qposadr[j]) for j in hinges}
        self.low, self.high = self._model.jnt_range[1:].T

    def bounds(self) -> tuple[Float[np.ndarray, " number"], Float[np.ndarray, " number"]]:
        """Least and greatest joint angles, then of the pitch."""
        return np.append(self.low, -np.pi / 2), np.append(self.high, 0.3)

    def angles_of(self, legs: str, arms: str) -> Float[np.ndarray, " joint"]:
        """Joint angles of a pose, then the pitch."""
        angles, pitch = np.zeros(len(self._address) + 1), LEGS[legs][1]
        names = list(self._address)
        for side, sign in (("right", 1.0), ("left", -1.0)):
            for name, value in LEGS[legs][0].items():
                angles[names.index(f"{side}_{name}")] = value
            for name, value in ARMS[arms].items():
                turn = sign if name.startswith("shoulder") else 1.0
                angles[names.index(f"{side}_{name}")] = turn * value
        angles[-1] = pitch
        return angles

    def put(
        self, angles: Float[np.ndarray, " number"], yaw: float = 0.0
    ) -> tuple[UInt8[np.ndarray, "96 96 3"], Truth]:
        """A picture of these angles and this pitch, the lowest part on the floor; and the truth."""
        data, pitch = self._data, angles[-1] / 2
        data.qpos[:] = self._rest
        data.qpos[list(self._address.values())] = np.clip(angles[:-1], self.low, self.high)
        turn, lean = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]), np.zeros(4)
        lean[[0, 2]] = np.cos(pitch), np.sin(pitch)
        mujoco.mju_mulQuat(data.qpos[3:7], turn, lean)
        mujoco.mj_forward(self._model, data)
        data.qpos[2] -= min(self._bottom(geom) for geom in range(1, self._model.ngeom))
        mujoco.mj_forward(self._model, data)
        where = {name: float(self._place(name)[2]) for name in ("head", "butt")}
        hands, knees = (
            np.mean([self._place(f"{side}_{part}") for side in ("right", "left")], axis=0)
            for part in ("hand", "shin1")
        )
        upward = data.body("torso").xmat.reshape(3, 3)[:, 2]
        truth = Truth(
            knees=float(knees[2]), head=where["head"], hips=where["butt"],
            hands=float((hands - self._place("head")) @ upward),
        )  # fmt: skip
        return self._renderer.render(data, "front"), truth

    def _place(self, geom: str) -> Float[np.ndarray, "3"]:
        return np.asarray(self._data.geom_xpos[self._model.geom(geom).id])

    def _bottom(self, geom: int) -> float:
        """Lowest point of a capsule or sphere."""
        radius, half = self._model.geom_size[geom, :2]
        long = self._model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
        upright = abs(self._data.geom_xmat[geom].reshape(3, 3)[2, 2])
        return float(self._data.geom_xpos[geom, 2] - radius - long * upright * half)


@dataclass(frozen=True, kw_only=True)
class Album:
    """Pictures of all poses, and how many really show what they are called."""

    maps: Float[np.ndarray, "picture channel row column"]
    pose: Sequence[tuple[str, str]]
    agreed: float


def photograph(body: Humanoid, encoder: EfficientNetLite, seed: int) -> Album:
    """Every pose from any side within 60 degrees, joints a little off."""
    rng = np.random.default_rng(seed)
    pictures, poses, agreed = [], [], []
    for legs, arms in POSES:
        for _ in range(PICTURES):
            angles = body.angles_of(legs, arms) + SPREAD * rng.normal(size=len(body.low) + 1)
            picture, truth = body.put(angles, rng.uniform(-1.05, 1.05))
            pictures.append(picture)
            poses.append((legs, arms))
            agreed.append(truth.is_pose(legs, arms))
    return Album(maps=encoder.encode(np.stack(pictures)), pose=poses, agreed=float(np.mean(agreed)))


def lessons(
    album: Album, kept_out: tuple[str, str], reader: SentenceEncoder, shuffle: bool
) -> Lessons:
    """Pictures of all poses but one, and their sentences; shuffled, each is told another's."""
    rng = np.random.default_rng(0)
    known = [pose for pose in POSES if pose != kept_out]
    order = rng.permutation(len(known)) if shuffle else np.arange(len(known))
    told = {pose: known[other] for pose, other in zip(known, order, strict=True)}
    chosen = [i for i, pose in enumerate(album.pose) if pose != kept_out]
    said = [
        (pose, template.format(legs=legs, arms=arms))
        for pose in known
        for legs, arms in product(SAID[pose[0]], SAID[pose[1]])
        for template in TEMPLATES
    ]
    true = np.array([[pose == told[album.pose[i]] for pose, _ in said] for i in chosen])
    return Lessons(
        maps=album.maps[chosen],
        group=np.array([list(LEGS).index(album.pose[i][0]) for i in chosen]),
        texts=np.stack([reader.encode(text) for _, text in said]),
        true=true,
    )


def reward_of(
    towers: AlignedTowers, maps: Float[np.ndarray, "picture channel row column"], text: str
) -> Float[np.ndarray, " picture"]:
    """VLM-RM's reward, regularised towards the line from the baseline."""
    seen = towers.look(Clip(frames={}, features={"front": maps}, instruction="-"), "front")
    return regularised(seen, towers.read(text), towers.read(BASELINE), ALPHA)


def search(
    body: Humanoid, towers: AlignedTowers, encoder: EfficientNetLite, text: str, seed: int
) -> tuple[float, Truth]:
    """The pose that the cross-entropy method finds by the reward alone, from any pose at first."""
    rng = np.random.default_rng(seed)
    low, high = body.bounds()
    mean, spread = (low + high) / 2, (high - low) / 2
    best = (-np.inf, mean)
    for _ in range(GENERATIONS):
        tried = np.clip(mean + spread * rng.normal(size=(CANDIDATES, len(mean))), low, high)
        pictures = np.stack([body.put(angles)[0] for angles in tried])
        rewards = reward_of(towers, encoder.encode(pictures), text)
        elite = tried[np.argsort(rewards)[-ELITES:]]
        best = max(best, (float(rewards.max()), tried[rewards.argmax()]), key=lambda b: b[0])
        mean, spread = elite.mean(0), elite.std(0) + 0.02
    return best[0], body.put(best[1])[1]


def rows_of(body: Humanoid, seeds: Sequence[int], scratch: Path) -> list[dict[str, Any]]:
    """One row for each asked pose, pair of towers and seed."""
    encoder, reader = EfficientNetLite(), SentenceEncoder()
    rows = []
    for seed in seeds:
        album = photograph(body, encoder, seed)
        for asked in ASKED:
            text = TEMPLATES[0].format(legs=asked[0], arms=asked[1])
            for name, towers in all_towers(album, asked, encoder, reader, seed, scratch).items():
                rewards = reward_of(towers, album.maps, text)
                own = np.array([pose == asked for pose in album.pose])
                order = float(comparisons(rewards[own], rewards[~own]).mean())
                found, truth = search(body, towers, encoder, text, seed)
                row = {
                    "towers": name, "asked": text, "seed": seed, "auroc": order,
                    "reward_of_the_pose": float(rewards[own].mean()), "reward_found": found,
                    "found_is_the_pose": truth.is_pose(*asked), "hands_above_head": truth.hands,
                    "hips": truth.hips, "knees": truth.knees, "head": truth.head,
                    "pictures_agreed": album.agreed,
                }  # fmt: skip
                print(row, flush=True)
                rows.append(row)
    return rows


def all_towers(
    album: Album, asked: tuple[str, str], encoder: EfficientNetLite, reader: SentenceEncoder,
    seed: int, scratch: Path,
) -> Mapping[str, AlignedTowers]:  # fmt: skip
    """Those of the package, and heads that have never seen the pose that is asked for."""
    made = {"of the package": AlignedTowers(encoder, reader)}
    for name, shuffle in (("aligned on poses", False), ("aligned, shuffled", True)):
        path = scratch / "heads.pt"
        heads = align(lessons(album, asked, reader, shuffle), seed=seed)
        write_heads(path, heads, encoder, reader)
        made[name] = AlignedTowers(encoder, reader, path)
    return made


def claims_of(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """That pictures of a pose never seen rank first, and that the search finds it."""
    found = []
    for name in dict.fromkeys(row["towers"] for row in rows):
        own = [row for row in rows if row["towers"] == name]
        for key, target in (("auroc", 0.9), ("found_is_the_pose", 0.5)):
            interval = mean_interval([float(row[key]) for row in own], seed=0)
            found.append(
                Claim(
                    claim=f"towers {name}: {key}, poses never seen", target=target,
                    measured=interval.mean, low=interval.low, high=interval.high,
                )
            )  # fmt: skip
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """For `docs/rewards/vlm_rm.md`."""
    lines = ["| towers | asked | AUROC of pictures | the search finds it |", "|---|---|---|---|"]
    for name, asked in dict.fromkeys((row["towers"], row["asked"]) for row in rows):
        own = [row for row in rows if (row["towers"], row["asked"]) == (name, asked)]
        order = [row["auroc"] for row in own]
        hits = sum(row["found_is_the_pose"] for row in own)
        lines.append(
            f"| {name} | {asked} | {np.mean(order):.2f} ({min(order):.2f} to {max(order):.2f}) "
            f"| {hits} of {len(own)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write ``benchmarks/results/humanoid_poses.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        rows = rows_of(Humanoid(), asked.seeds, Path(scratch))
    print(benchmark_result("humanoid_poses", rows, claims_of(rows)))
    print(table(rows))


if __name__ == "__main__":
    main()
