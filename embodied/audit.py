"""Whether to trust a reward on one task, before a robot moves: `audit`, `run_audit`, `require`.

The reward is asked about held-out successes and failures, and about clips made from them whose
right answer is known: reversed, frozen, undone, under a wrong instruction, perturbed. Each number
stands beside that of a clock. Definitions and gates: `docs/audit.md`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import hydra

from embodied.audit_cameras import camera_rows
from embodied.audit_choice import Choice, judge_settings
from embodied.audit_cost import cost_of
from embodied.audit_counterfactuals import counterfactuals, hardly_told_apart, least_margin
from embodied.audit_evidence import Evidence, collect, with_features
from embodied.audit_gates import Gates, Outcome, headline
from embodied.audit_losses import Robustness
from embodied.audit_metrics import DEFINITIONS, instruction_margins, measure
from embodied.audit_pins import pins_of
from embodied.audit_plans import Plans, judge_plans
from embodied.audit_robustness import robustness
from embodied.audit_simulator import Distance, Simulated, Simulator, judge_by_simulator, simulated
from embodied.durable import write_atomically
from embodied.errors import BadInput, RewardRejected
from embodied.opposites import opposites
from embodied.provenance import plain
from embodied.reward_models.base import RewardModel
from embodied.statistics import Interval
from embodied.types import Clip, Episode, FrameEncoder, clip_of

CLOCK = "embodied.reward_models.controls.ElapsedTime"
CLOCK_ALONE = 0.7
"""Above this, clip length alone ranks successes and failures, and the audit says so."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Clips that the reward has never seen, whose outcome is known."""

    successes: Sequence[Clip]
    failures: Sequence[Clip]


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """Numbers, verdict and what is needed to repeat them."""

    accepted: bool
    headline: str
    reasons: tuple[str, ...]
    """One sentence per failed gate."""
    notes: tuple[str, ...]
    """What the numbers cannot show."""
    metrics: Mapping[str, Interval]
    baseline: Mapping[str, Interval]
    """The same numbers of elapsed time alone."""
    gates: tuple[Outcome, ...]
    robustness: tuple[Robustness, ...]
    cameras: tuple[Robustness, ...]
    """Without each camera, of a reward that looks at several."""
    margins: Mapping[str, Interval]
    """Per other instruction: how much higher successes end under their own."""
    opposites: Mapping[str, str]
    """Of these instructions, those of the same thing: what they would have done with it."""
    choice: Choice | None
    """Of a reward with settings to choose among."""
    plans: Plans | None
    """Of a reward that matches clips with references."""
    simulator: Simulator | None
    """Where the clips have the simulator's reward."""
    latency_ms: Mapping[str, float]
    """Per frame: ``score_p50``, ``score_p99`` and, where there are pictures, ``encode_p50``..."""
    memory_mb: Mapping[str, float]
    """``model``, and ``peak`` of the process while it scored a clip, with what that ``added``."""
    pins: Mapping[str, Any]
    """What the numbers depend on; see `embodied.audit_pins`."""
    held_out: HeldOut
    evidence: Evidence

    @property
    def distances(self) -> tuple[Distance, ...]:
        """From the simulator's reward, where the clips have it."""
        return () if self.simulator is None else (self.simulator.epic, self.simulator.dard)

    def to_dict(self) -> dict[str, Any]:
        """Everything but clips and curves, in JSON's types."""
        values = {
            name: {**value.to_dict(), "elapsed_time": self.baseline[name].to_dict()}
            for name, value in self.metrics.items()
        }
        content = {
            "accepted": self.accepted,
            "headline": self.headline,
            "reasons": self.reasons,
            "notes": self.notes,
            "gates": [gate.to_dict() for gate in self.gates],
            "metrics": values,
            "robustness": [asdict(row) for row in self.robustness],
            "cameras": [asdict(row) for row in self.cameras],
            "instruction_margins": {k: v.to_dict() for k, v in self.margins.items()},
            "opposites": self.opposites,
            "choice": None if self.choice is None else self.choice.to_dict(),
            "plans": None if self.plans is None else self.plans.to_dict(),
            "simulator": None if self.simulator is None else self.simulator.to_dict(),
            "latency_ms_per_frame": self.latency_ms,
            "memory_mb": self.memory_mb,
            "pins": self.pins,
        }
        return dict(plain(content))


def audit(
    model: RewardModel,
    successes: Sequence[Clip],
    failures: Sequence[Clip],
    *,
    encoder: FrameEncoder,
    other_instructions: Sequence[str],
    fps: float,
    seed: int,
    gates: Gates | None = None,
    reference_model: RewardModel | None = None,
    shifted: HeldOut | None = None,
    other_robot: HeldOut | None = None,
    counterfactuals: Sequence[str] = (),
    simulator: Simulated | None = None,
) -> AuditResult:
    """Judge a reward on clips that it was not trained on.

    Args:
        model: The reward.
        successes: Clips in which the task is done at the end.
        failures: Clips in which it is not; early policy roll-outs rather than random motion.
        encoder: Makes features of frames that have none; each frame is encoded once.
        other_instructions: What the clips do not show, say the instructions of other tasks.
        fps: Frames per second of the clips; only recorded.
        seed: Of the bootstrap and of dropped frames.
        gates: Thresholds; the proposal of `Gates` if not given.
        reference_model: Stands beside the reward; a clock that knows the longest success if not
            given.
        shifted: Clips rendered from a camera that was really moved, about 10 degrees.
        other_robot: Clips in which another robot does the task.
        counterfactuals: Instructions that mean something else to do with the same thing; of those
            that would undo the task, a gate takes note.
        simulator: What the simulator paid in each clip. The reward never sees it.

    Raises:
        BadInput: without at least two successes and two failures, or if a clip lacks a camera.
    """
    if min(len(successes), len(failures)) < 2:
        raise BadInput(
            f"an audit needs at least two successes and two failures, not {len(successes)} and "
            f"{len(failures)}; 20 of each decide most gates."
        )
    model.eval()
    gates = gates or Gates()
    held = HeldOut(
        successes=with_features(successes, encoder, model.cameras),
        failures=with_features(failures, encoder, model.cameras),
    )
    evidence = collect(model, held.successes, held.failures, other_instructions, counterfactuals)
    clock = reference_model or hydra.utils.get_class(CLOCK)(
        model.cameras, typical_length=max(map(len, successes)), discount=1.0, bonus=0.0
    )
    beside = collect(clock, held.successes, held.failures, other_instructions)
    metrics, baseline = measure(evidence, seed=seed), measure(beside, seed=seed)
    recorded = {"camera_shift": shifted, "other_robot": other_robot}
    elsewhere = {n: (each.successes, each.failures) for n, each in recorded.items() if each}
    rows = robustness(
        model, held.successes, held.failures, evidence, encoder, seed=seed, elsewhere=elsewhere
    )
    margins = instruction_margins(evidence, seed=seed)
    related = opposites({clip.instruction for clip in held.successes}, evidence.asked)
    outcomes = gates.judge({**metrics, **_camera_drop(rows), **least_margin(related, margins)})
    choice = judge_settings(model, held.successes, held.failures, seed=seed)
    cost = cost_of(model, held.successes, encoder)
    return AuditResult(
        accepted=all(outcome.passed for outcome in outcomes),
        headline=headline(outcomes),
        reasons=tuple(outcome.sentence for outcome in outcomes if not outcome.passed),
        notes=(
            *_notes(outcomes, baseline, choice),
            *hardly_told_apart(related, margins, gates.opposite),
        ),
        metrics=metrics,
        baseline=baseline,
        gates=outcomes,
        robustness=rows,
        cameras=camera_rows(model, held.successes, held.failures, evidence, encoder, seed=seed),
        margins=margins,
        opposites=related,
        choice=choice,
        plans=judge_plans(model, held.successes, held.failures, seed=seed),
        simulator=None
        if simulator is None
        else judge_by_simulator(
            (held.successes, held.failures),
            (evidence.successes, evidence.failures),
            (beside.successes, beside.failures),
            simulator,
            seed=seed,
        ),
        latency_ms=cost.latency_ms,
        memory_mb=cost.memory_mb,
        pins=pins_of(
            model, held.successes, held.failures, encoder,
            other_instructions=other_instructions, fps=fps, seed=seed, gates=gates,
        ),
        held_out=held,
        evidence=evidence,
    )  # fmt: skip


def run_audit(
    model: RewardModel,
    encoder: FrameEncoder,
    held_out: Sequence[Episode],
    out_dir: Path,
    *,
    other_instructions: Sequence[str],
    seed: int,
    gates: Gates | None = None,
    shifted: Sequence[Episode] = (),
    other_robot: Sequence[Episode] = (),
    episodes_told: str = "",
    name: str = "reward_card",
) -> AuditResult:
    """Audit on episodes; write ``reward_card.html`` and ``reward_card.json`` into ``out_dir``.

    Args:
        model: The reward.
        encoder: Features are taken from an episode if this encoder made them.
        held_out: Episodes whose success is known; those whose success is None are left out.
        out_dir: Made if it does not exist.
        other_instructions: What the episodes do not show.
        seed: Of the bootstrap.
        gates: Thresholds.
        shifted: Episodes seen from a camera that was really moved.
        other_robot: Episodes in which another robot does the task.
        episodes_told: How the episodes were chosen, for the card.
        name: Of the two files.

    Raises:
        BadInput: without at least two successes and two failures.
    """
    from embodied.card import write_card  # which imports this module, and matplotlib

    clips = held_out_clips(held_out, encoder)
    shown = {clip.instruction for clip in clips.successes}
    result = audit(
        model, clips.successes, clips.failures, encoder=encoder,
        other_instructions=other_instructions, fps=held_out[0].fps, seed=seed, gates=gates,
        shifted=held_out_clips(shifted, encoder) if shifted else None,
        other_robot=held_out_clips(other_robot, encoder) if other_robot else None,
        counterfactuals=counterfactuals(shown, other_instructions), simulator=simulated(held_out),
    )  # fmt: skip
    result = replace(result, pins={**result.pins, "episodes": episodes_told})
    write_card(result, out_dir / f"{name}.html")
    content = json.dumps(result.to_dict(), indent=1) + "\n"
    write_atomically(out_dir / f"{name}.json", content.encode())
    return result


def require(result: AuditResult, *, override: bool) -> None:
    """Stop before a rejected reward is trained on.

    Raises:
        RewardRejected: if the reward was rejected and that is not overridden.
    """
    if not result.accepted and not override:
        raise RewardRejected(
            f"{result.headline} {' '.join(result.reasons)} "
            "See reward_card.html; override_audit=true trains on it all the same."
        )


def held_out_clips(episodes: Sequence[Episode], encoder: FrameEncoder) -> HeldOut:
    """Successes and failures; features of another encoder are left behind.

    Raises:
        BadInput: if there is no episode of either kind.
    """
    clips: dict[bool, list[Clip]] = {True: [], False: []}
    for episode in episodes:
        if episode.success is not None:
            clip = clip_of(episode)
            if episode.encoder != encoder.fingerprint:
                clip = replace(clip, features={})
            clips[episode.success].append(clip)
    if not clips[True] or not clips[False]:
        raise BadInput(
            f"an audit needs episodes of both outcomes, not {len(clips[True])} successes and "
            f"{len(clips[False])} failures."
        )
    return HeldOut(successes=clips[True], failures=clips[False])


def _camera_drop(rows: Sequence[Robustness]) -> dict[str, Interval]:
    """The drop under 10 degrees: of re-rendered clips if there are any, else of warped ones."""
    by_name = {row.name: row.drop for row in rows}
    found = by_name.get("camera_shift", by_name.get("camera_10"))
    return {} if found is None else {"camera_drop": found}


def _notes(
    outcomes: Sequence[Outcome], baseline: Mapping[str, Interval], choice: Choice | None
) -> tuple[str, ...]:
    notes = [outcome.sentence for outcome in outcomes if outcome.passed and not outcome.decided]
    for name in ("pair_accuracy", "pair_accuracy_mean", "auroc"):
        area = baseline[name].mean
        if max(area, 1 - area) > CLOCK_ALONE:
            notes.append(
                f"A clock alone reaches {area:.2f} in {DEFINITIONS[name].title}: held-out "
                "successes and failures differ in length, so this number says little."
            )
    if choice is not None and choice.note is not None:
        notes.append(choice.note)
    return tuple(notes)
