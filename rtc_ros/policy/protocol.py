"""What the inference node needs from a policy, without torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import GUIDE, STRATEGIES


@dataclass(frozen=True)
class PolicySpec:
    """What a policy takes and gives: sizes, and the image features by name as (height, width).

    The size of an image feature is what the policy's configuration says. With ``pads_images`` it
    means nothing: the policy itself resizes each image in its own shape and pads it, in training
    as here, and fine-tuning leaves the size of the base model's cameras there. Without it other
    sizes are resized to that one. ``max_candidates`` is how many chunks of one observation it can
    make in one batch; with ``batches`` (a GPU) they take hardly longer than one.
    ``image_positions`` says at which positions it sees the patches of its images, where it has
    any: "right" or "shifted". ``trained_delay`` is the largest d for which it was trained to go
    on from given rows (``rtc_trained``); 0: it wasn't. Without ``flow`` a chunk is made in one
    pass.
    """

    horizon: int
    action_dim: int
    state_dim: int
    num_steps: int
    image_features: Mapping[str, tuple[int, int]]
    description: str = ""
    max_candidates: int = 1
    pads_images: bool = False
    trained_delay: int = 0
    image_positions: str = field(default="", compare=False)  # no size: two of one size are equal
    flow: bool = True
    batches: bool = field(default=False, compare=False)

    def cannot(self, strategy: str) -> str:
        """Say why a strategy can't be run with this policy; "" where it can."""
        if self.flow or STRATEGIES[strategy].prefix is None:
            return ""
        able = ", ".join(name for name, each in STRATEGIES.items() if each.prefix is None)
        return (
            f"{strategy} takes the previous chunk into the denoising of the next one, and "
            f"{self.description or 'this policy'} makes a chunk in one pass, without a flow: "
            f"set strategy (strategy:=… in a launch) to one of {able}"
        )

    def without(self, images: Collection[str]) -> PolicySpec:
        """Return what it takes where these image features are left out.

        Raises:
            ValueError: it doesn't have one of them, or none would remain.
        """
        unknown = sorted(set(images) - set(self.image_features))
        left = {n: size for n, size in self.image_features.items() if n not in images}
        if unknown or (images and not left):
            raise ValueError(
                f"{', '.join(unknown or sorted(images))} can't be left out: the policy has the "
                f"images {', '.join(sorted(self.image_features))}, and needs one of them"
            )
        return replace(self, image_features=left)


def check_weak(strong: PolicySpec, weak: PolicySpec) -> None:
    """Raise ValueError where chunks of ``weak`` can't be compared with those of ``strong``."""
    if (weak.horizon, weak.action_dim) != (strong.horizon, strong.action_dim):
        raise ValueError(
            f"the weak checkpoint makes chunks of {weak.horizon} rows and {weak.action_dim} "
            f"joints, the policy of {strong.horizon} rows and {strong.action_dim} joints: bid "
            "compares them row by row, so weak_policy_path must name one of the same shape"
        )
    if weak.state_dim != strong.state_dim or set(weak.image_features) != set(
        strong.image_features
    ):
        raise ValueError(
            f"the weak checkpoint takes {weak.state_dim} joints and the images "
            f"{', '.join(sorted(weak.image_features))}, the policy {strong.state_dim} and "
            f"{', '.join(sorted(strong.image_features))}: bid gives both the same observation"
        )


@dataclass(frozen=True)
class Observation:
    """One observation, in the units the policy was trained with.

    ``state`` is float[state_dim]; ``images`` maps feature names (``observation.images.top``) to
    uint8[height, width, 3] in RGB order; ``task`` is the sentence.
    """

    state: np.ndarray
    images: Mapping[str, np.ndarray]
    task: str


@dataclass(frozen=True)
class Guidance:
    """What a new chunk goes on from, and how it is made to.

    ``prev`` is float[R, action_dim], R ≤ H: what the robot will have executed, in the policy's
    units, row 0 first. ``weights`` is float[H], zero from row R on. ``method`` is a strategy's
    ``prefix``: "guide" (equations 2 to 5, with ``beta``, ``sigma_d`` and ``jacobian``, "vjp" or
    "identity"), "overwrite" or "trained" (rows of weight 1), or "choose"
    (``rtc_ros.core.bid.choose`` among ``candidates``, K = ``contrast``).
    """

    prev: np.ndarray
    weights: np.ndarray
    beta: float = 5.0
    sigma_d: float = 1.0
    jacobian: str = "vjp"
    method: str = GUIDE
    candidates: int = 16
    contrast: int = 3

    @property
    def frozen(self) -> int:
        """How many rows have weight 1."""
        return int((np.asarray(self.weights) >= 1.0).sum())

    @classmethod
    def of(
        cls, settings: RtcSettings, prev: np.ndarray | None, weights: np.ndarray | None
    ) -> Guidance | None:
        """Return what ``settings`` make of a request's prev (in policy units) and weights."""
        if prev is None or weights is None:
            return None
        return cls(
            prev,
            weights,
            settings.beta,
            settings.sigma_d,
            settings.jacobian,
            settings.plan.prefix or GUIDE,
            settings.bid_candidates,
            settings.bid_contrast,
        )


@dataclass(frozen=True)
class PolicyResult:
    """A chunk float64[H, action_dim] in the policy's units, and where its time went [s]."""

    actions: np.ndarray
    durations_s: Mapping[str, float] = field(default_factory=dict)


class Policy(Protocol):
    """Makes chunks from observations. Implementations hold no control state."""

    @property
    def spec(self) -> PolicySpec:
        """The policy's sizes."""
        ...

    def warm_up(self, task: str = "") -> float:
        """Run a few times, without and with guidance; return how long a guided chunk takes [s].

        ``task`` is the sentence that will probably be asked for.
        """
        ...

    def infer(
        self,
        observation: Observation,
        guidance: Guidance | None,
        *,
        num_steps: int | None = None,
        seed: int | None = None,
    ) -> PolicyResult:
        """Make one chunk. ``seed`` fixes the noise; without it the noise is new each time."""
        ...
