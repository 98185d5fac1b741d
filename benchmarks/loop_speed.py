"""How fast the loop is: Ray against one process, and the actor against a bare loop.

    python benchmarks/loop_speed.py [RUN] [--episodes 12]

``RUN`` is a run that has a reward and a cloned policy, by default the one that `fine_tuning.py`
makes of the default job: what is measured is its own task, policy,
reward and algorithm. Both loops start from the cloned policy in folders of their own. Rates are
taken between the first settled episode and the last, in one command: compare ratios, not figures.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from embodied.actor import ActorWorker
from embodied.config import instantiate, load_config
from embodied.fine_tuning import CHECKPOINT, EPISODES, schedule, workers
from embodied.hardware.silent import SilentOperator
from embodied.job import build_encoder, build_env, load_policy, open_store
from embodied.messages import Request
from embodied.provenance import Claim, benchmark_result
from embodied.tape import Sight

NEEDED = ("config.yaml", "demos", "reward", "policy_base")


def main() -> None:
    """Measure, and write `benchmarks/results/loop_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/benchmark/default-0"))
    parser.add_argument("--episodes", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cfg = load_config(options.run, [f"fine_tune.episodes={options.episodes}"])
    rows = [actor_against_bare(cfg, options.run, options.episodes)]
    print(rows[-1], flush=True)
    for name in ("inline", "ray"):
        chosen = load_config(
            options.run,
            [
                f"loop={name}",
                f"fine_tune.episodes={options.episodes}",
                "fine_tune.minimum_steps=0",
                "fine_tune.validation_episodes=0",
            ],
        )
        rows.append({"loop": name, **loop_rates(chosen, options.run)})
        print(rows[-1], flush=True)
    actor, inline, ray = rows
    claims = [
        Claim(
            claim="actor's steps/s over those of physics, render and policy in a bare loop",
            target=0.85,
            measured=actor["actor_over_bare"],
        ),
        Claim(
            claim="environment steps/s of loop=ray over loop=inline",
            target=1.2,
            measured=ray["steps_per_s"] / inline["steps_per_s"],
        ),
    ]
    benchmark_result("loop_speed", rows, claims)


def actor_against_bare(cfg: DictConfig, run: Path, episodes: int) -> dict[str, Any]:
    """The same episodes by the actor, as it acts, and by the least loop that acts alike."""
    encoder, env = build_encoder(cfg), build_env(cfg)
    policy = load_policy(run, "policy_base", encoder).eval()
    actor = ActorWorker(
        env=env,
        policy=policy,
        encoder=encoder,
        operator=SilentOperator(),
        store=None,
        keep_features=False,
    )
    spent = {"actor": 0.0, "bare": 0.0}
    steps = {"actor": 0, "bare": 0}
    for number in range(episodes + 1):
        started = time.perf_counter()
        request = Request(number=number, seed=number, source="online", explore=1.0)
        acted = len(actor.collect(request))
        between = time.perf_counter()
        bare = _bare_episode(env, policy, encoder, number)
        if number > 0:  # the first one warms up
            spent["actor"] += between - started
            spent["bare"] += time.perf_counter() - between
            steps["actor"] += acted
            steps["bare"] += bare
    actor.close()
    rates = {name: steps[name] / spent[name] for name in spent}
    return {
        "actor_steps_per_s": rates["actor"],
        "bare_steps_per_s": rates["bare"],
        "actor_over_bare": rates["actor"] / rates["bare"],
        "episodes": episodes,
    }


def _bare_episode(env: Any, policy: Any, encoder: Any, seed: int) -> int:
    observation, _ = env.reset(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    steps, ended = 0, False
    while not ended:
        sight = Sight(encoder, env.cameras)
        sight.see(observation)
        features = {
            camera: torch.from_numpy(maps[None]).float()
            for camera, maps in sight.features().items()
        }
        with torch.inference_mode():
            state = torch.from_numpy(sight.state[None])
            chunk = policy.act(features, state, generator, explore=1.0)
        for action in chunk.action[0].numpy():
            observation, _, terminated, truncated, _ = env.step(action)
            steps += 1
            ended = terminated or truncated
            if ended:
                break
    return steps


def loop_rates(cfg: DictConfig, run: Path) -> dict[str, float]:
    """Rates of a loop from its first settled episode on."""
    seen: list[tuple[float, Mapping[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in NEEDED:
            source = run / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        (copy / CHECKPOINT).parent.mkdir()
        outcome = instantiate(
            cfg.loop,
            workers=workers(cfg, copy),
            schedule=schedule(cfg),
            store=open_store(cfg, copy, EPISODES),
            checkpoint_path=copy / CHECKPOINT,
            observe=lambda row: seen.append((time.perf_counter(), row)),
            run_seed=cfg.seed,
        ).run()
    settled = [(at, row) for at, row in seen if "episode_id" in row]
    learnt = [(at, row) for at, row in seen if "updates" in row]
    start, end = settled[0][0], max(settled[-1][0], learnt[-1][0] if learnt else 0.0)
    before = [row["updates"] for at, row in learnt if at <= start]
    return {
        "seconds": end - start,
        "steps_per_s": sum(row["steps"] for _, row in settled[1:]) / (end - start),
        "updates_per_s": (outcome.updates - (before[-1] if before else 0.0)) / (end - start),
    }


if __name__ == "__main__":
    main()
