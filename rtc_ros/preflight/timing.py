"""Whether H and Δt cover the inference's latency."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator

import numpy as np

from rtc_ros.core.settings import beyond_rows
from rtc_ros.inference.policy_loading import left_out_images
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.policy.protocol import Guidance, Observation, PolicySpec
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.setup import Setup

_TIMES = 5


def measured_latency_s(setup: Setup) -> float:
    """Load the policy as the node would and return a guided chunk's median time [s].

    Raises whatever loading raises; imports torch.
    """
    from rtc_ros.policy.adapter import FlowAdapter

    p = setup.inference
    policy = FlowAdapter.load(
        checkpoint_path(p["policy_path"]),
        backbone=p["backbone_path"] or None,
        device=p["device"],
        dtype=p["dtype"],
        torch_threads=p["torch_threads"] or None,
        fast=p["fast"],
        image_positions=p["image_positions"],
    )
    policy.leave_out(left_out_images(p))
    policy.warm_up()
    spec = policy.spec
    images = {n: np.zeros((*size, 3), np.uint8) for n, size in spec.image_features.items()}
    observation = Observation(np.zeros(spec.state_dim), images, p["task"])
    prev = np.zeros((spec.horizon, spec.action_dim))
    settings = setup.settings
    guidance = Guidance(
        prev, np.ones(spec.horizon), settings.beta, settings.sigma_d, settings.jacobian
    )
    given = guidance if spec.flow else None
    times = []
    for number in range(_TIMES):
        begun = time.perf_counter()
        policy.infer(observation, given, num_steps=settings.num_steps or None, seed=number)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def check_latency(setup: Setup, spec: PolicySpec, latency_s: float | None) -> Iterator[Finding]:
    """Check that there is an s for d = ⌈latency / Δt⌉ + 1. None: not measured."""
    subject, period_s, horizon = "H and Δt against the latency", setup.period_s, spec.horizon
    largest = horizon // 2
    room = (
        f"H = {horizon} and Δt = {period_s * 1e3:g} ms cover d ≤ H/2 = {largest}, that is "
        f"{largest * period_s * 1e3:.0f} ms"
    )
    extra_s = setup.settings.inject_latency_ms * 1e-3
    delay = 0 if latency_s is None else math.ceil((latency_s + extra_s) / period_s) + 1
    problems = setup.settings.problems(horizon, delay, trained_delay=spec.trained_delay)
    if beyond := beyond_rows(setup.settings.filter_cutoff, period_s):
        problems.append(beyond)
    chunk = "" if latency_s is None else f"{latency_s * 1e3:.0f} ms a guided chunk is d = {delay}"
    faster = _faster(setup)
    if problems:
        told = f"{chunk}: {problems[0]}" if chunk else problems[0]
        yield bad(subject, f"{told}. {room}", f"{faster}; or another s_min")
    elif latency_s is None:
        yield good(subject, f"{room}; not measured (--measure loads the policy and does)")
    else:
        said = f"{chunk}; {room}"
        if delay > 0.8 * largest:
            yield doubt(subject, said, f"little is left for a busy machine: {faster}")
        else:
            yield good(subject, said)


def _faster(setup: Setup) -> str:
    """Say what makes inference faster, with these parameters."""
    ways = ["a faster device", "fewer num_steps"]
    on_gpu = str(setup.inference["device"]).startswith("cuda")
    if not on_gpu and setup.inference["torch_threads"] != 1:
        # Torch's threads wait for one another: on a busy CPU each chunk takes many times as long.
        ways.insert(0, "on a CPU that others use, too, torch_threads: 1")
    return f"infer faster: {', '.join(ways)}"
