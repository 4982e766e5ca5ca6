"""Many episodes at once through the inference loop and the controller that the nodes run.

B episodes are one robot with B · A joints: loop, player, blending and mask know nothing of joints,
so what is executed at each step is decided by the code that moves an arm, not by a copy of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rtc_ros.bench.kinetix.flow_policy import FlowPolicy
from rtc_ros.bench.kinetix.level_world import Level
from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.policy.protocol import Guidance

_PERIOD_NS = round(1e9 / 30)


@dataclass(frozen=True)
class Outcome:
    """How B episodes went.

    ``done`` and ``failed`` bool[B], ``done_step`` int[B] (-1: never), ``jerk`` float[B], the root
    mean square of the change of the action from step to step, ``seam`` the same over steps at
    which one chunk took over from another.
    """

    done: np.ndarray
    failed: np.ndarray
    done_step: np.ndarray
    jerk: np.ndarray
    seam: np.ndarray


def run_episodes(
    level: Level,
    policy: FlowPolicy,
    settings: RtcSettings,
    delay: int,
    episodes: int,
    seed: int,
) -> Outcome:
    """Run ``episodes`` episodes with d = ``delay``; the first chunk is there at once.

    The same ``seed`` gives the same starts, disturbances and noise, whatever the settings.

    Raises:
        ValueError: the settings can't be used with d; the message says why.
    """
    horizon, joints = policy.spec.horizon, policy.spec.action_dim
    problems = settings.problems(horizon, delay, trained_delay=policy.spec.trained_delay)
    if problems:
        raise ValueError("; ".join(problems))
    world = level(episodes, seed)

    def infer(request: InferenceRequest, seq: int) -> np.ndarray:
        prev = request.prev
        if prev is not None:
            prev = prev.reshape(len(prev), episodes, joints).swapaxes(0, 1)
        guidance = Guidance.of(settings, prev, request.weights)
        # One noise per moment, not per inference: methods that infer at the same step share it.
        noise = torch.Generator().manual_seed(1_000_003 * seed + world.step_count)
        chunk = policy.infer(
            world.observe(), guidance, noise, settings.num_steps or None, ~world.ended
        )
        return chunk.swapaxes(0, 1).reshape(horizon, episodes * joints)

    size = episodes * joints
    most = np.full(size, level.limit)
    limits = JointLimits(-most, most, np.full(size, np.inf))
    run = VirtualRun(
        Controller(limits),
        InferenceLoop(horizon, DelayEstimator(10, delay), settings),
        infer,
        lambda seq: 0 if seq == 1 else delay,
        _PERIOD_NS,
        tuple(f"{e}/{j}" for e in range(episodes) for j in range(joints)),
        np.zeros(size),
    )
    changes, seams, last = [], [], None
    for _ in range(level.steps):
        if world.ended.all():
            break
        command = run.tick()
        assert command.target is not None, "the first chunk is there at once"
        action = command.target.reshape(episodes, joints)
        world.step(action)
        if last is not None:
            changes.append(((action - last) ** 2).sum(axis=1))
            if command.played.swap is not None:
                seams.append(changes[-1])
        last = action
    none = [np.zeros(episodes)]
    return Outcome(
        world.done,
        world.failed,
        world.done_step,
        np.sqrt(np.mean(changes or none, axis=0)),
        np.sqrt(np.mean(seams or none, axis=0)),
    )
