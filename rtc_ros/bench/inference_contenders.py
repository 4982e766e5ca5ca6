"""What `rtc_ros bench inference` lets run against each other, on one policy's weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from rtc_ros.bench.inference_phases import Phases, resident_bytes
from rtc_ros.core.prefix import prefix_weights
from rtc_ros.core.strategies import TRAINED
from rtc_ros.policy import guidance
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.flow_input import to_batch
from rtc_ros.policy.lerobot_guidance import rtc_enabled, rtc_processor
from rtc_ros.policy.protocol import Guidance, Observation, PolicySpec

BETA = 5.0
PLAIN, RTC, VJP = "LeRobot plain", "LeRobot RTC (J = I)", "LeRobot, true VJP"
FAST, GUIDED = "ours unguided", "ours guided (true VJP)"
TRAINED_PREFIX, LEROBOT_PREFIX = "ours, trained prefix", "LeRobot's velocity, trained prefix"
IDENTITY, LEROBOT_IDENTITY = "ours guided (J = I)", "LeRobot's velocity, J = I"
COMPARED = (PLAIN, RTC, VJP, FAST, TRAINED_PREFIX, GUIDED)
"""What takes turns in `rtc_ros bench inference`, LeRobot's plain sampling first."""


@dataclass(frozen=True)
class Contender:
    """``run(seed)`` makes a chunk [H, A] from observation to robot units; ``steps(n)`` also."""

    run: Callable[[int], np.ndarray]
    steps: Callable[[int], object]
    phases: Phases


class Contest:
    """The contenders on one policy, one observation and one previous chunk."""

    def __init__(
        self,
        parts: tuple[Any, Any, Any],
        delay: int,
        stride: int,
        *,
        leave_out: Collection[str] = (),
        padded: bool | None = None,
    ) -> None:
        """Build both ways on the same weights.

        Args:
            parts: LeRobot's policy, preprocessor, postprocessor.
            delay: d [steps].
            stride: s [steps]; guided are the rows up to H − s.
            leave_out: cameras of the policy that there aren't.
            padded: as for ``FastField``.
        """
        self.policy, pre, post = parts
        where = next(self.policy.parameters()).device
        device = str(where)
        # Of untrained rows, too, the time is that of trained ones.
        options: dict[str, Any] = {"device": device, "trained_delay": delay}
        self.lerobot = FlowAdapter(self.policy, pre, post, **options)
        self.lerobot.leave_out(leave_out)
        before = resident_bytes(where)
        self.field = FastField(self.policy, padded=padded)
        self.packed_bytes = resident_bytes(where) - before
        self.fast = FlowAdapter(self.policy, pre, post, field=lambda _: self.field, **options)
        self.fast.leave_out(leave_out)
        self._pre, self._post, spec = pre, post, self.fast.spec
        self._num_steps = spec.num_steps
        self.observation = example_observation(spec)
        rows = spec.horizon - stride
        self._delay, self._end = delay, rows
        random = np.random.default_rng(1)
        self.guidance = Guidance(
            0.5 * random.normal(size=(rows, spec.action_dim)),
            prefix_weights(spec.horizon, delay, stride),
            beta=BETA,
        )
        given = prefix_weights(spec.horizon, delay, stride, "zeros")
        self._given = replace(self.guidance, weights=given, method=TRAINED)
        self._processor = rtc_processor(beta=BETA, mask_end=rows)

    @contextmanager
    def steps(self, num_steps: int) -> Iterator[None]:
        """Let all take ``num_steps`` denoising steps within the block."""
        own = self._num_steps, self.policy.config.num_steps
        self._num_steps = self.policy.config.num_steps = num_steps
        try:
            yield
        finally:
            self._num_steps, self.policy.config.num_steps = own

    @property
    def weight_bytes(self) -> int:
        """Size of LeRobot's weights [bytes]."""
        return sum(p.numel() * p.element_size() for p in self.policy.parameters())

    def describe(self) -> str:
        """Return the sizes that count."""
        spec, config = self.fast.spec, self.policy.config
        parameters = sum(p.numel() for p in self.policy.parameters()) / 1e6
        sides = " × ".join(str(side) for side in config.resize_imgs_with_padding)
        return (
            f"{parameters:.1f} M parameters, {len(spec.image_features)} camera(s) of {sides} px, "
            f"H = {spec.horizon}, {self.guidance.prev.shape[0]} guided rows, {spec.num_steps} "
            f"steps, {self.field.expert.prefix_tokens} prefix tokens"
        )

    def everyone(self) -> dict[str, Contender]:
        """Return all by name.

        The prefixes make the rows behind d given ones; J = I is guidance with the identity
        Jacobian.
        """
        plain, rtc = (_lerobot_phases(self.policy, p) for p in (None, self._processor))
        theirs, ours = _vjp_phases(self.policy), _fast_phases(self.field)
        given, guided = self._given, self.guidance
        identity = replace(guided, jacobian="identity")
        table = (
            (PLAIN, self.lerobot, plain, None),
            (RTC, self.lerobot, rtc, identity),
            (VJP, self.lerobot, theirs, guided),
            (LEROBOT_PREFIX, self.lerobot, theirs, given),
            (LEROBOT_IDENTITY, self.lerobot, theirs, identity),
            (FAST, self.fast, ours, None),
            (TRAINED_PREFIX, self.fast, ours, given),
            (GUIDED, self.fast, ours, guided),
            (IDENTITY, self.fast, ours, identity),
        )
        own = {PLAIN: self._plain, RTC: self._rtc}  # LeRobot's sampling, not its velocity alone
        found = {}
        for name, adapter, phases, wanted in table:
            infer = partial(self._infer, adapter, wanted)
            found[name] = Contender(own.get(name, infer), partial(infer, 0), phases)
        return found

    def _infer(
        self, adapter: FlowAdapter, guidance: Guidance | None, seed: int, num_steps: int = 0
    ) -> np.ndarray:
        n = num_steps or self._num_steps
        return adapter.infer(self.observation, guidance, num_steps=n, seed=seed).actions

    def batch(self, prev: np.ndarray | None = None) -> dict[str, Any]:
        """Return the observation as LeRobot's preprocessor leaves it, with ``prev`` as action."""
        rows = None if prev is None else prev.astype(np.float32)
        device = torch.device(self.policy.config.device)
        return self._pre(to_batch(self.fast.spec, self.observation, rows, {}, device))

    def _plain(self, seed: int) -> np.ndarray:
        noise = self.lerobot.noise(seed)
        actions = self.policy.predict_action_chunk(self.batch(), noise=noise)
        return self._post(actions)[0].numpy()

    def _rtc(self, seed: int) -> np.ndarray:
        noise = self.lerobot.noise(seed)
        batch = self.batch(self.guidance.prev)
        with rtc_enabled(self.policy, self._processor):
            actions = self.policy.predict_action_chunk(
                batch,
                noise=noise,
                inference_delay=self._delay,
                prev_chunk_left_over=batch["action"],
                execution_horizon=self._end,
            )
        return self._post(actions)[0].numpy()


def example_observation(spec: PolicySpec) -> Observation:
    """Return random pixels and joints for the task of the shipped policy."""
    random = np.random.default_rng(0)
    return Observation(
        state=0.1 * random.normal(size=spec.state_dim),
        images={
            name: random.integers(0, 256, (*size, 3), dtype=np.uint8)
            for name, size in spec.image_features.items()
        },
        task="pass the cube to the left hand",
    )


def _lerobot_phases(policy: Any, processor: Any) -> Phases:
    """Return where LeRobot's sample_actions spends its time, with or without its guidance."""
    phases = {
        "model": (policy.model, "sample_actions"),
        "vision": (policy.model.vlm_with_expert, "embed_image"),
        "denoising": (policy.model, "denoise_step"),
    }
    return phases if processor is None else {**phases, "sampling": (processor, "denoise_step")}


def _vjp_phases(policy: Any) -> Phases:
    """Return the same where the package's plain sampler drives LeRobot's ``denoise_step``."""
    return {
        "prefix": (SMOLVLA, "encode_prefix"),
        "vision": (policy.model.vlm_with_expert, "embed_image"),
        "sampling": (guidance, "integrate"),
        "denoising": (policy.model, "denoise_step"),
    }


def _fast_phases(field: FastField) -> Phases:
    """Return where the fast path spends its time."""
    return {
        "prefix": (field, "encode"),
        "vision": (field.prefix.vision, "encode"),
        "sampling": (guidance, "integrate"),
        "denoising": (field.expert, "velocity"),
    }
