"""A_prev from a recording, as the inference had it: with set points between the rows, too."""

from types import SimpleNamespace

import numpy as np
import pytest

from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.set_points import Motion, motion_of, motion_text
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.replay.check import previous_rows
from rtc_ros.ros.provenance import ChunkSource

DT, H = 0.02, 30
LIMITS = JointLimits.from_velocity([-9.0] * 2, [9.0] * 2, [1.0] * 2, DT, [6.0] * 2)


@pytest.mark.parametrize("points", [1, 2, 10])
def test_it_is_made_again_to_the_bit(points):
    """Of a policy that shakes, so that the limits are at work and rows depend on the motion."""
    loop = InferenceLoop(H, DelayEstimator(10, 5), RtcSettings(s_min=8))
    controller = Controller(LIMITS, 20, points=points)
    chance, made = np.random.default_rng(0), []

    def infer(request, _):
        cursor = controller.cursor(0)
        source = ChunkSource(
            1, request.start_step, request.previous, cursor.velocity_scale, request.settings,
            (0,), (0,), "", cursor.points, cursor.motion,
        )  # fmt: skip
        made.append((request, dict(part.split("=", 1) for part in str(source).split())))
        at = request.origin_step + np.arange(H)
        rows = np.stack([np.sin(0.08 * at), np.cos(0.05 * at) - 1], axis=1)
        return rows + chance.normal(0, 0.02, rows.shape)

    virtual = VirtualRun(controller, loop, infer, lambda _: 5, 20_000_000, ("a", "b"), np.zeros(2))
    for _ in range(300):
        virtual.tick()
    log = virtual.log()
    chunks = {c.name: (c, {}, 0) for c in log.chunks}
    recording = SimpleNamespace(chunks=chunks, run=log, limits=lambda *_: LIMITS)
    compared = limited = 0
    for request, header in made:
        if request.prev is None:
            continue
        chunk = next((c for c in log.chunks if c.origin_step == request.origin_step), None)
        if chunk is None:
            continue  # the last one was still being made
        assert ("motion" in header) == (points > 1)
        rows, problem = previous_rows(recording, chunk, header)
        assert problem == ""
        np.testing.assert_array_equal(rows, request.prev)
        previous = chunks[request.previous][0]
        there = previous.actions[request.origin_step - previous.origin_step :][: len(rows)]
        limited += int((rows[: len(there)] != there).any())
        compared += 1
    assert compared > 20 and limited > 10


def test_a_motion_is_told_to_the_bit_and_no_other_is_taken_for_it():
    motion = Motion(np.zeros(3), np.array([1e-17, -0.1, 3.0]), np.array([np.pi, 0.0, -5e-300]))
    again = motion_of(motion_text(motion), motion.at)
    np.testing.assert_array_equal(np.array(again), np.array(motion))
    with pytest.raises(ValueError, match="6 numbers of 2 joints"):
        motion_of(motion_text(motion), np.zeros(2))
