"""Steps Algorithm 1's two halves against each other, without a clock."""

from __future__ import annotations

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import NOTHING, Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings


class Bench:
    """A controller and an inference loop; each inference takes a chosen number of ticks."""

    def __init__(
        self,
        horizon=10,
        action_dim=1,
        initial_delay=0,
        limits=None,
        trained_delay=None,
        **settings,
    ):
        self.controller = Controller(limits or JointLimits.none(action_dim))
        queue, settings = DelayEstimator(10, initial_delay), RtcSettings(**settings)
        self.loop = InferenceLoop(horizon, queue, settings, trained_delay=trained_delay)
        self.controller.start(1, np.zeros(action_dim))
        self.running: tuple[InferenceRequest, int] | None = None
        self.requests: list[InferenceRequest] = []
        self.chunks: list[ActionChunk] = []
        self.log: list[tuple[int, int] | None] = []
        self.written: ActionChunk | None = None

    def begin(self, ticks: int) -> InferenceRequest | None:
        """Start an inference that takes ``ticks`` if one is due."""
        if self.running is None:
            request = self.loop.next_request(self.controller.cursor(0))
            if request is not None:
                self.running = (request, ticks)
                self.requests.append(request)
                return request
        return None

    def finish(self, values=None) -> ActionChunk:
        """Hand over the chunk of the running inference; each row says chunk and row."""
        request, _ = self.running
        self.running = None
        number = len(self.chunks)
        shape = (self.loop.horizon, self.controller.settings.action_dim)
        rows = np.arange(shape[0])[:, None] + 100.0 * number
        actions = np.broadcast_to(rows, shape) if values is None else values
        chunk = ActionChunk(
            actions,
            origin_step=request.origin_step,
            step_epoch=request.step_epoch,
            epoch=1,
            seq=number,
            rows=request.rows,
            delay=request.forecast,
            stride=request.horizons.stride,
        )
        self.chunks.append(chunk)
        self.loop.look(self.controller.cursor(0))
        self.loop.wrote(chunk, request)
        self.written = chunk
        return chunk

    def tick(self, inputs=NOTHING):
        """Take what was written, play one control period, count down the running inference."""
        if self.written is not None:
            self.controller.offer(self.written)
        command = self.controller.tick(inputs)
        played = command.played
        self.log.append(None if played.action is None else (played.chunk.seq, played.row))
        if self.running is not None:
            self.running = (self.running[0], self.running[1] - 1)
        return command

    def run(self, ticks: int, duration: int) -> None:
        """Run with inferences that all take ``duration`` ticks."""
        for _ in range(ticks):
            self.begin(duration)
            if self.running is not None and self.running[1] <= 0:
                self.finish()
                self.begin(duration)
            self.tick()
