"""Evaluation through the real nodes, and that without ROS the same chunks are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rtc_ros.bags.reader import Bag
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.policy.protocol import Guidance
from rtc_ros.replay.recorded_policy import load_policy
from rtc_ros.replay.source import Recording
from rtc_ros.sim.evaluate import PERIOD_S, controller
from rtc_ros.tools.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.rendering, pytest.mark.ros]

SETTINGS = RtcSettings(s_min=15, beta=10.0, sigma_d=0.4, schedule="linear", num_steps=4)
EPISODES, STEPS = 2, 250
BACK_TO_BACK = 2
"""An s_min below any delay: each inference begins when the one before it is done, s = d."""


@pytest.fixture(scope="module", params=[SETTINGS.s_min, BACK_TO_BACK])
def evaluated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes through the nodes: bag and figures."""
    folder = tmp_path_factory.mktemp("evaluated")
    words = [
        "sim",
        "eval",
        "--nodes",
        "--latency-ms",
        "60",
        "--num-steps",
        "4",
        "--episodes",
        str(EPISODES),
    ]
    words += ["--steps", str(STEPS), "--out", str(folder), "--json", str(folder / "figures.json")]
    words += ["--s-min", str(request.param)]
    assert main(words) == 0
    return folder


def test_episodes_run_through_the_nodes_and_are_counted(evaluated: Path) -> None:
    (figures,) = json.loads((evaluated / "figures.json").read_text())
    assert figures["episodes"] == EPISODES and 0 <= figures["passed"] <= EPISODES
    assert figures["settings"]["delay"] >= 3, "60 ms are 3 steps, and an inference takes some more"
    assert figures["misplaced"] == 0 and figures["seams"] > 2 * EPISODES
    assert {"rtc_sim.log", "rtc_inference.log", "rtc_controller.log"} <= {
        path.name for path in (evaluated / "1" / "logs").iterdir()
    }
    with Bag(evaluated / "1" / "bag") as bag:
        mine = set(bag.topics) - {"/diagnostics", "/parameter_events"}  # which move nothing
        assert mine and all(t.startswith("/rtc_ros_sim_eval/") for t in mine), "no robot hears it"
    with Recording(evaluated / "1" / "bag") as recording:
        epochs = {chunk.step_epoch for chunk, _, _ in recording.chunks.values()}
        assert len(epochs) == EPISODES, "each episode counts its steps anew"


class Again(VirtualRun):
    """The run of `sim eval` without ROS; inferences begin at given steps."""

    starts: dict[int, int]

    def _start_inference(self) -> bool:
        due = self.controller.state.player.step >= self.starts.get(self._seq + 1, 0)
        return due and super()._start_inference()


def opened_at(recording: Recording, first: ActionChunk) -> np.ndarray:
    """Return the measured pose at which the gate was opened: it gave the first command."""
    log = recording.run.commands
    origin = log.provenance
    assert origin is not None
    tick = int(np.flatnonzero((origin.step_epoch == first.step_epoch) & (origin.row >= 0))[0])
    for back_ns in range(0, 1_000_000_000, 5_000_000):
        pose = recording.pose_at(int(log.stamp_ns[tick]) - back_ns)
        assert pose is not None
        again = controller()
        again.start(first.step_epoch, pose)
        again.offer(first)
        command = again.tick()
        assert command is not None
        if np.array_equal(command.target, log.command[tick]):
            return pose
    raise AssertionError("no recorded pose leads to the first command")


def comparable(recording: Recording, epoch: int) -> dict[int, int]:
    """Return an episode's chunks as far as a run without ROS can make them: seq and swap's step.

    A held arm's step stands still: it doesn't tell in which tick an inference began.
    """
    used: dict[int, int] = {}
    for seam in recording.run.swaps:
        if seam.step_epoch != epoch:
            continue
        if used and seam.held_ticks:
            break
        used[seam.chunk_seq] = seam.step
    return used


def test_the_same_observations_noise_and_delays_give_the_same_chunks_without_ros(
    evaluated: Path,
) -> None:
    with Recording(evaluated / "1" / "bag") as recording:
        policy = load_policy(recording, None)
        settings = SETTINGS.changed(s_min=recording.settings["s_min"])
        epochs = {c.step_epoch for c, _, _ in recording.chunks.values()}
        # A stall may spoil one episode.
        used = max((comparable(recording, epoch) for epoch in sorted(epochs)), key=len)
        recorded = [c for c in recording.chunks.values() if c[0].seq in used]
        starts = [int(header["start_step"]) for _, header, _ in recorded]
        delays = [used[c[0].seq] - k for c, k in zip(recorded, starts, strict=True)]
        pairs: list[tuple[np.ndarray, ActionChunk]] = []

        def infer(request: InferenceRequest, seq: int) -> np.ndarray:
            chunk, header, time_ns = recorded[seq - 1]
            stamps = [[int(x) for x in header[k].split(",")] for k in ("images", "joints")]
            observation, problem = recording.observed(*stamps, time_ns)
            assert observation is not None, problem
            assert (request.origin_step, request.horizons.delay) == (
                chunk.origin_step,
                chunk.delay,
            )
            made = policy.infer(
                observation,
                Guidance.of(settings, request.prev, request.weights),
                num_steps=settings.num_steps or None,
                seed=int(header["seed"]),
            ).actions
            pairs.append((made, chunk))
            return made

        pose = opened_at(recording, recorded[0][0])
        queue = DelayEstimator(10, recorded[0][0].delay)
        for seam in recording.run.swaps:  # an earlier episode's delays are still in Q
            if seam.step_epoch < recorded[0][0].step_epoch and seam.guided:
                queue.observe(seam.delay_observed + seam.held_ticks)
        loop = InferenceLoop(policy.spec.horizon, queue, settings)
        run = Again(controller(), loop, infer, lambda seq: delays[seq - 1],
                    round(PERIOD_S * 1e9), tuple(recording.settings["joints"]), pose)  # fmt: skip
        run.starts = {number: step for number, step in enumerate(starts, 1)}
        while len(pairs) < len(recorded):
            assert run.ticks < 2 * STEPS, f"{len(pairs)} of {len(recorded)} chunks were made"
            run.tick()
    if settings.s_min == BACK_TO_BACK:
        assert min(chunk.stride for _, chunk in pairs[2:]) > BACK_TO_BACK, "s = d"
    assert len(pairs) > 5 and sum(chunk.guided for _, chunk in pairs) > 4
    same = [np.array_equal(made, chunk.actions) for made, chunk in pairs]
    assert all(same), f"{same.count(False)} of {len(same)} chunks differ"
