"""A checkpoint of a flow policy as a policy: observation and previous chunk in, new chunk out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtc_ros.core.bid import choose
from rtc_ros.core.strategies import CHOOSE, TRAINED
from rtc_ros.policy.families import family_of
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.flow_input import (
    action_scale,
    blank_observation,
    check_given,
    check_observation,
    check_prev,
    policy_spec,
    renamed_features,
    to_batch,
)
from rtc_ros.policy.guidance import sample
from rtc_ros.policy.image_positions import AUTO
from rtc_ros.policy.kv_cache import most_candidates
from rtc_ros.policy.loading import load_parts
from rtc_ros.policy.protocol import (
    Guidance,
    Observation,
    PolicyResult,
    PolicySpec,
    check_weak,
)
from rtc_ros.policy.velocity_field import LeRobotField, VelocityField, checked, quickest_field

logger = logging.getLogger(__name__)

_LEAST_SCALE = 1e-6


class PolicyError(RuntimeError):
    """The policy made something that must not reach a robot."""


class FlowAdapter:
    """Implements ``protocol.Policy`` on a flow policy of LeRobot's; see ``families``.

    Guidance runs in the policy's normalised action space over its real dimensions: padding
    dimensions, rows the previous chunk doesn't have, and joints that never moved in the training
    data (their normalisation has no inverse) have weight 0. To be called from one thread at a
    time; it keeps no state between chunks but the source of its noise.
    """

    def __init__(
        self,
        policy: Any,
        preprocessor: Any,
        postprocessor: Any,
        *,
        device: str,
        description: str = "",
        field: Callable[[Any], VelocityField] = LeRobotField,
        image_positions: str = "",
        trained_delay: int = 0,
    ) -> None:
        """Take over a policy: it is put in evaluation mode, its parameters are frozen.

        Args:
            policy: LeRobot's (SmolVLAPolicy, PI0Policy, PI05Policy), on ``device``.
            preprocessor: LeRobot's, with the tensors it makes on ``device``.
            postprocessor: LeRobot's.
            device: a torch device.
            description: for people.
            field: makes the velocity field from the policy.
            image_positions: those that it sees, for the spec.
            trained_delay: d up to which it was trained to go on from given rows.
        """
        policy.eval()
        policy.requires_grad_(False)
        config = policy.config
        self._family = family_of(policy.name)
        self._policy, self._pre, self._post = policy, preprocessor, postprocessor
        self._device = torch.device(device)
        self._model_dim = int(getattr(config, "max_action_dim", 0))
        self._names = renamed_features(preprocessor)
        self._field = field(policy)
        self._compared = False
        self._noise = torch.Generator()
        self._noise.seed()
        spec = policy_spec(self._family, config, self._names, description)
        self._spec = replace(spec, image_positions=image_positions, trained_delay=trained_delay)
        self._scale = action_scale(postprocessor, self._spec.action_dim).abs()
        self._guidable = self._scale > _LEAST_SCALE
        self._weak: FlowAdapter | None = None
        if not bool(self._guidable.all()):
            fixed = torch.nonzero(~self._guidable).flatten().tolist()
            logger.warning("action dimensions %s never vary: they are not guided", fixed)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backbone: str | Path | None = None,
        device: str = "auto",
        dtype: str = "float32",
        torch_threads: int | None = None,
        fast: bool = True,
        image_positions: str = AUTO,
    ) -> FlowAdapter:
        """Load a checkpoint folder, without a network; a ``OnePassAdapter`` where it has no flow.

        Args:
            path: the folder.
            backbone: folder of the tokenizer (and the VLM's config); None: see ``find_backbone``.
            device: a torch device, or "auto" for CUDA where there is one, else the CPU.
            dtype: of the transformers: "float32", "bfloat16", or "checkpoint" for that of most
                of the stored weights. Projections and guidance are float32 always.
            torch_threads: CPU threads of one operation, for the whole process; None: torch's.
            fast: compute by the fast path where it knows the model (a SmolVLA); False: by
                LeRobot's code.
            image_positions: at which positions it sees the patches of its images: "right",
                "shifted", or "auto" for those of its training; see ``image_positions``.

        Raises:
            CheckpointError: the folder can't be run; the message says why.
            ValueError: another argument is wrong.
        """
        loaded = load_parts(
            path,
            backbone=backbone,
            device=device,
            dtype=dtype,
            torch_threads=torch_threads,
            image_positions=image_positions,
        )
        if not family_of(loaded.policy.name).flow:
            from rtc_ros.policy.one_pass import OnePassAdapter  # it is one of these

            cls = OnePassAdapter
        return cls(
            loaded.policy,
            loaded.preprocessor,
            loaded.postprocessor,
            device=loaded.device,
            description=loaded.description,
            field=quickest_field if fast else LeRobotField,
            image_positions=loaded.image_positions,
            trained_delay=loaded.trained_delay,
        )

    @property
    def spec(self) -> PolicySpec:
        """The policy's sizes."""
        return self._spec

    def warm_up(self, task: str = "") -> float:
        """Run once without and four times with guidance; return the last three's median [s].

        Kernels are made for the length of ``task``; another one costs milliseconds, once. Before
        that the fast path is compared with LeRobot's code, and given up if it differs; without a
        warm-up the first chunk does so.
        """
        spec = self._spec
        observation = blank_observation(spec, task or "warm up")
        guidance = Guidance(
            prev=np.zeros((spec.horizon, spec.action_dim)), weights=np.ones(spec.horizon)
        )
        batch = self._pre(to_batch(spec, observation, None, self._names, self._device))
        self._compare(batch)
        if isinstance(self._field, FastField):
            self._field.warm_up()
        prefix = self._family.encode_prefix(self._policy, batch)
        most, cuda = most_candidates(prefix.bytes, self._device), self._device.type == "cuda"
        self._spec = replace(spec, max_candidates=most, batches=cuda)
        return timed(
            partial(self.infer, observation, each, seed=0) for each in (None, *[guidance] * 4)
        )

    def _compare(self, batch: dict[str, Any]) -> None:
        self._field = checked(self._field, self._policy, batch, self.noise(0))
        self._compared = True

    @torch.no_grad()
    def infer(
        self,
        observation: Observation,
        guidance: Guidance | None,
        *,
        num_steps: int | None = None,
        seed: int | None = None,
    ) -> PolicyResult:
        """Make one chunk; see ``protocol.Policy``.

        The result's durations are those of preprocess, prefix, denoise and postprocess, or of
        the candidates among which one was chosen.

        Raises:
            ValueError: observation or guidance don't fit the policy, or more rows are given than
                it was trained for; the message says where.
            PolicyError: the chunk has values that are not finite.
        """
        clock = Clock(self._device)
        check_observation(self._spec, observation)
        if guidance is not None and guidance.method == TRAINED:
            check_given(self._spec, guidance)
            guidance = guidance if guidance.frozen else None  # the unguided chunk, to the bit
        rows = None if guidance is None else check_prev(self._spec, guidance)
        steps = self._spec.num_steps if num_steps is None else num_steps
        if guidance is not None and guidance.method == CHOOSE:
            chunk = self._chosen(observation, guidance, steps, seed)
            clock.lap("candidates")
            return PolicyResult(chunk, clock.laps)
        batch = self._pre(to_batch(self._spec, observation, rows, self._names, self._device))
        if not self._compared:
            self._compare(batch)
        target = None if guidance is None else self._target(batch["action"], guidance)
        clock.lap("preprocess")
        velocity = self._field(batch)
        clock.lap("prefix")
        actions = sample(velocity, self.noise(seed), guidance, target, steps)
        clock.lap("denoise")
        chunk = self._to_policy_units(actions)[0]
        if guidance is not None and guidance.method == TRAINED:
            chunk[: guidance.frozen] = guidance.prev[: guidance.frozen]
        clock.lap("postprocess")
        return PolicyResult(chunk, clock.laps)

    def leave_out(self, images: Collection[str]) -> None:
        """Take no such images from now on: LeRobot hides those that aren't there.

        Raises:
            ValueError: the policy doesn't have one of them, or none would remain.
        """
        self._spec = self._spec.without(images)

    def contrast_with(self, weak: FlowAdapter) -> None:
        """Let ``bid`` prefer what this policy makes and ``weak`` doesn't (forward contrast).

        Raises:
            ValueError: ``weak`` takes or makes something of another shape.
        """
        check_weak(self._spec, weak.spec)
        self._weak = weak

    @torch.no_grad()
    def candidates(
        self, observation: Observation, count: int, num_steps: int, seed: int | None = None
    ) -> np.ndarray:
        """Make ``count`` unguided chunks in one batch; float64[count, H, A] in policy units.

        The first is made of the noise that ``infer`` takes for this ``seed``.
        """
        check_observation(self._spec, observation)
        batch = self._pre(to_batch(self._spec, observation, None, self._names, self._device))
        # The fast path makes one chunk at a time.
        velocity = LeRobotField(self._policy)(batch, count)
        noise = self.noise(seed, count)
        return self._to_policy_units(sample(velocity, noise, None, None, num_steps))

    def _chosen(
        self, observation: Observation, guidance: Guidance, num_steps: int, seed: int | None
    ) -> np.ndarray:
        count = guidance.candidates
        chunks = self.candidates(observation, count, num_steps, seed)
        weak = None
        if self._weak is not None and guidance.contrast > 0:
            weak = self._weak.candidates(observation, count, num_steps, seed)
        scale = (self._scale * self._guidable).numpy()
        prev, weights = np.asarray(guidance.prev, np.float64), np.asarray(guidance.weights)
        return chunks[int(choose(chunks, prev, weights, scale, weak, guidance.contrast))]

    def _to_policy_units(self, actions: Tensor) -> np.ndarray:
        """Return float64[B, H, A] for what was sampled, [B, H, max_action_dim]."""
        real = self._family.to_policy_actions(self._policy, actions[:, :, : self._spec.action_dim])
        chunk = np.asarray(self._post(real).to(torch.float64).numpy())
        if not np.isfinite(chunk).all():
            bad = int((~np.isfinite(chunk)).sum())
            raise PolicyError(f"the policy made a chunk with {bad} values that are not finite")
        return chunk

    def noise(self, seed: int | None = None, count: int = 1) -> Tensor:
        """Return new noise [count, H, max_action_dim]; the same on every device for a ``seed``.

        The first of several is what there is of one.
        """
        source = self._noise if seed is None else torch.Generator().manual_seed(seed)
        shape = (1, self._spec.horizon, self._model_dim)
        drawn = [torch.randn(shape, generator=source) for _ in range(count)]
        return torch.cat(drawn).to(self._device)

    def _target(self, normalised: Tensor, guidance: Guidance) -> tuple[Tensor, Tensor]:
        """Pad prev [1, R, A] to the model's size; return it and W[H, max_action_dim]."""
        spec, rows = self._spec, normalised.shape[1]
        prev = torch.zeros(1, spec.horizon, self._model_dim, device=self._device)
        prev[:, :rows, : spec.action_dim] = self._family.to_model_actions(self._policy, normalised)
        weights = torch.zeros(spec.horizon, self._model_dim)
        row_weights = torch.as_tensor(guidance.weights, dtype=torch.float32)[:rows, None]
        weights[:rows, : spec.action_dim] = row_weights * self._guidable
        return prev, weights.to(self._device)


def timed(runs: Iterable[Callable[[], object]]) -> float:
    """Return the median of how long the last three take [s]."""
    durations = []
    for run in runs:
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    # On a busy machine a single one may be several times as long.
    return median(durations[-3:])


class Clock:
    """Times the phases of one inference [s], waiting for the device at each lap."""

    def __init__(self, device: torch.device) -> None:
        self.laps: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note how long it is since the lap before, under this name."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
