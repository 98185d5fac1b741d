"""A diffusion policy that is told how strong each attribute of its behaviour should be.

AlignDiff (Dong et al., arXiv 2310.02054), section 4.3, on action chunks: demonstrations carry the
strength of each attribute, learned from people's comparisons; strengths are masked at random in
training, so that one network knows the behaviour with any of them given; sampling is guided without
a classifier (Ho & Salimans, arXiv 2207.12598). The network is `DiffusionPolicy`'s: strengths come
to it as further numbers of the state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from embodied.errors import BadConfig, BadInput, UnknownName
from embodied.policies.base import Chunk, DenoisingPolicy, Examples
from embodied.policies.diffusion import DiffusionPolicy


@final
class AttributeDiffusion(DenoisingPolicy):
    """Denoises a chunk of actions towards target strengths of its attributes.

    Args:
        attributes: Their names, in the order of `Examples.attributes`.
        cameras: As the following ones, see `DiffusionPolicy`.
        feature_shape: Channels, rows, columns of one camera's features.
        state_size: Dimensions of the proprioceptive state, without the attributes.
        action_low: Least value of each action dimension, in the environment's units.
        action_high: Greatest value of each.
        chunk: Actions predicted, and executed, at a time.
        steps: Denoising steps.
        keypoints: Patterns that are looked for in each camera's maps.
        width: Of the hidden layers.
        certainty: What the first noise is multiplied by when not exploring, in [0, 1].
        bins: Of the code of a strength, at least 2.
        guidance: The paper's w: 0 ignores the target, 1 is the policy as it was learned, more
            exaggerates what the target changes.
        drop_each: Probability that an attribute is masked in training, each on its own.
        drop_all: Probability that all of an example's are.

    Raises:
        BadConfig: without attributes or with one twice, or for a number out of its range.
    """

    def __init__(
        self,
        *,
        attributes: Sequence[str],
        cameras: Sequence[str],
        feature_shape: Sequence[int],
        state_size: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        chunk: int = 4,
        steps: int = 10,
        keypoints: int = 32,
        width: int = 256,
        certainty: float = 0.5,
        bins: int = 10,
        guidance: float = 1.5,
        drop_each: float = 0.1,
        drop_all: float = 0.15,
    ) -> None:
        super().__init__()
        _check_numbers(attributes, bins, guidance, (drop_each, drop_all))
        self.base = DiffusionPolicy(
            cameras=cameras, feature_shape=feature_shape,
            state_size=state_size + len(attributes) * bins, action_low=action_low,
            action_high=action_high, chunk=chunk, steps=steps, keypoints=keypoints, width=width,
            certainty=certainty,
        )  # fmt: skip
        self.settings = self.base.settings | {
            "attributes": list(attributes), "state_size": state_size, "bins": bins,
            "guidance": guidance, "drop_each": drop_each, "drop_all": drop_all,
        }  # fmt: skip
        """The constructor's arguments, as a checkpoint stores them."""
        self.attributes, self.bins, self.guidance = tuple(attributes), bins, guidance
        self.drop_each, self.drop_all = drop_each, drop_all
        self.cameras, self.chunk = self.base.cameras, chunk
        self.action_size = self.base.action_size
        self.condition_size = 2 * self.base.condition_size
        self.loudness = (2 * keypoints * len(self.cameras) + state_size) ** 0.5
        """So that a strength weighs as much at first as all that is observed; otherwise the few
        demonstrations are told apart by their pictures, and it is hardly listened to."""
        self.aim = nn.Buffer(torch.zeros(len(self.attributes)))
        """Strengths of `target`; those that are not `wanted` say nothing."""
        self.wanted = nn.Buffer(torch.zeros(len(self.attributes), dtype=torch.bool))

    @classmethod
    def from_diffusion(
        cls, base: DiffusionPolicy, attributes: Sequence[str]
    ) -> "AttributeDiffusion":
        """A policy that begins as another one is, and does not listen to any strength yet.

        Args:
            base: Its weights are copied, and it stays as it is.
            attributes: Their names.
        """
        settings: dict[str, Any] = {**base.settings}
        policy, known = cls(attributes=attributes, **settings), base.state_dict()
        old, size = known["summary.0.weight"], settings["state_size"]
        for name, value in policy.base.state_dict().items():
            if name == "summary.0.weight":
                value.zero_()[:, : old.shape[1]] = old
            elif name in {"state_mean", "state_scale"}:
                value.fill_(float(name == "state_scale"))[:size] = known[name]
            else:
                value.copy_(known[name])
        return policy

    @property
    def target(self) -> dict[str, float]:
        """Strengths to act towards, by name; what is not named is left to the policy.

        Raises:
            UnknownName: on being set, for an attribute that there is not.
            BadInput: on being set, for a strength outside of [0, 1].
        """
        held = zip(self.attributes, self.aim.tolist(), self.wanted.tolist(), strict=True)
        return {name: strength for name, strength, wanted in held if wanted}

    @target.setter
    def target(self, strengths: Mapping[str, float]) -> None:
        for name, strength in strengths.items():
            if name not in self.attributes:
                raise UnknownName("attribute", name, self.attributes)
            if not 0 <= strength <= 1:
                raise BadInput(
                    f"the target of '{name}' is {strength}; a strength is the share of the "
                    "demonstrations that are weaker and must lie in [0, 1]."
                )
        for number, name in enumerate(self.attributes):
            self.wanted[number] = name in strengths
            self.aim[number] = strengths.get(name, 0.0)

    def fit_statistics(self, examples: Examples) -> None:
        """Take the scales of features and state; the code of the attributes keeps its own."""
        size = self.settings["state_size"]
        self.base.fit_statistics(self._told(examples, self._unknown(len(examples))))
        self.base.state_mean[size:] = 0.0
        self.base.state_scale[size:] = 1.0

    def condition(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch condition"]:
        """What the policy knows of an observation and the target; then, of the observation."""
        unknown = self._unknown(len(state))
        aim = torch.where(self.wanted, self.aim, unknown)
        told = (self._joined(state, strength) for strength in (aim, unknown))
        return torch.cat([self.base.condition(features, each) for each in told], 1)

    def loss(self, examples: Examples, generator: torch.Generator) -> Float[Tensor, " batch"]:
        """Error of the predicted noise, given the attributes that are not masked by chance.

        Raises:
            BadInput: for attributes that are not this policy's, or outside of [0, 1].
        """
        strength = examples.attributes
        if strength is None:
            strength = self._unknown(len(examples))
        self._check_strengths(strength)
        each = torch.rand(strength.shape, generator=generator) < self.drop_each
        every = torch.rand(len(strength), 1, generator=generator) < self.drop_all
        masked = strength.masked_fill(each | every, torch.nan)
        return self.base.loss(self._told(examples, masked), generator)

    def denoise(
        self,
        noise: Float[Tensor, "batch chunk action"],
        condition: Float[Tensor, "batch condition"],
    ) -> Float[Tensor, "batch chunk action"]:
        """The chunk that a noise becomes, by w e(target) + (1 - w) e(nothing)."""
        aimed, free = condition.chunk(2, 1)

        def guided(chunk: Tensor, step: Tensor) -> Tensor:
            found = self.base.noise_in(chunk, step, aimed)
            return torch.lerp(self.base.noise_in(chunk, step, free), found, self.guidance)

        return self.base.denoise_by(guided, noise)

    @torch.no_grad()
    def act(
        self,
        features: Mapping[str, Float[Tensor, "batch channel row column"]],
        state: Float[Tensor, "batch state"],
        generator: torch.Generator,
        *,
        explore: float,
    ) -> Chunk:
        """Sample a chunk towards the target, from noise as `DiffusionPolicy` draws it."""
        noise = self.base.draw(len(state), generator, explore=explore)
        return Chunk(action=self.denoise(noise, self.condition(features, state)), noise=noise)

    def _told(self, examples: Examples, strength: Float[Tensor, "batch attribute"]) -> Examples:
        return replace(examples, state=self._joined(examples.state, strength))

    def _joined(
        self, state: Float[Tensor, "batch state"], strength: Float[Tensor, "batch attribute"]
    ) -> Float[Tensor, "batch told"]:
        return torch.cat([state, self.loudness * self._code(strength)], 1)

    def _code(self, strength: Float[Tensor, "batch attribute"]) -> Float[Tensor, "batch code"]:
        """Shares of the two nearest bins, so that near strengths look alike; 0 if masked."""
        place = rearrange(strength * (self.bins - 1), "b attribute -> b attribute 1")
        share = (1.0 - (place - torch.arange(self.bins)).abs()).clamp(min=0.0)
        return rearrange(share.nan_to_num(0.0), "b attribute bin -> b (attribute bin)")

    def _unknown(self, batch: int) -> Float[Tensor, "batch attribute"]:
        return torch.full((batch, len(self.attributes)), torch.nan)

    def _check_strengths(self, strength: Float[Tensor, "_ _"]) -> None:
        if strength.shape[1] != len(self.attributes):
            raise BadInput(
                f"the examples have {strength.shape[1]} attributes, the policy "
                f"{len(self.attributes)}: {', '.join(self.attributes)}."
            )
        known = strength[~strength.isnan()]
        if not ((known >= 0) & (known <= 1)).all():
            raise BadInput(
                f"strengths of attributes go from {float(known.min()):.3g} to "
                f"{float(known.max()):.3g}; they must lie in [0, 1], as `percentile` gives them."
            )


def percentile(
    strength: Float[Tensor, "clip attribute"], among: Float[Tensor, "known attribute"]
) -> Float[Tensor, "clip attribute"]:
    """Share of the known clips whose attribute is weaker, in [0, 1]; an equal one counts half.

    Learned strengths have no unit; where among the demonstrations a clip stands, has.

    Raises:
        BadInput: without a known clip, or for strengths that are not finite.
    """
    if len(among) == 0 or not (strength.isfinite().all() and among.isfinite().all()):
        raise BadInput("a percentile needs known clips, and strengths that are finite.")
    order = rearrange(among, "known attribute -> attribute known").contiguous().sort(1).values
    asked = rearrange(strength, "clip attribute -> attribute clip").contiguous()
    weaker = torch.searchsorted(order, asked)
    not_stronger = torch.searchsorted(order, asked, right=True)
    return rearrange(
        (weaker + not_stronger) / (2.0 * len(among)), "attribute clip -> clip attribute"
    )


def _check_numbers(
    attributes: Sequence[str], bins: int, guidance: float, drops: tuple[float, float]
) -> None:
    if not attributes or len(set(attributes)) != len(attributes):
        raise BadConfig(f"a policy needs attributes, each once, not {list(attributes)}.")
    if bins < 2 or guidance < 0 or not all(0 <= drop < 1 for drop in drops):
        raise BadConfig(
            "attributes need 2 bins or more, a guidance of at least 0 and chances of masking in "
            f"[0, 1), not {bins}, {guidance} and {drops}."
        )
