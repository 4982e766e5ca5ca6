"""Both halves of Algorithm 1 against each other on a virtual clock, without processes or ROS.

What two nodes and a ring do in real time, tick by tick and as fast as the policy allows: the
same controller, the same inference loop, delays as given. Simulated evaluation and replay use it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.command import Command
from rtc_ros.core.continuity.run_log import RunLog
from rtc_ros.core.continuity.run_logger import RunLogger
from rtc_ros.core.controller import Controller, Inputs
from rtc_ros.core.cursor import CursorState
from rtc_ros.core.inference_loop import InferenceLoop, InferenceRequest

Infer = Callable[[InferenceRequest, int], np.ndarray]
"""infer(request, seq) -> float64[H, A] in robot units, from an observation of this moment."""


class VirtualRun:
    """One run of a controller and an inference loop.

    An inference that starts after tick t with a delay of n ticks reaches the controller before
    tick t + 1 + n: n ticks execute rows of the previous chunk meanwhile, so n is the observed d.
    Then, before that tick, the next one may start: s is d where s_min is no more.

    Args:
        controller: is started here, at ``pose`` float64[A].
        loop: its settings may be replaced between ticks.
        infer: makes a chunk; called when an inference starts.
        delay: ticks that inference number ``seq`` takes, from ``seq`` (1, 2, …).
        period_ns: Δt.
        joints: names, for the log.
        epoch: the number of this run of the step count, and of the chunks' maker.
        logger: takes the log of this run behind those of others; their epochs differ.
    """

    def __init__(
        self,
        controller: Controller,
        loop: InferenceLoop,
        infer: Infer,
        delay: Callable[[int], int],
        period_ns: int,
        joints: tuple[str, ...],
        pose: np.ndarray,
        *,
        epoch: int = 1,
        logger: RunLogger | None = None,
    ) -> None:
        self.controller = controller
        self.loop = loop
        self.ticks = 0
        self._infer = infer
        self._delay = delay
        self._period_ns = period_ns
        self._epoch = epoch
        self._logger = RunLogger(joints) if logger is None else logger
        self._seq = 0
        self._running: tuple[int, ActionChunk, InferenceRequest] | None = None
        self._written: ActionChunk | None = None
        controller.start(epoch, pose)

    def tick(self) -> Command:
        """Do what happens in one period; return the command for the arm."""
        self._until_the_tick()
        # The controller hears of a chunk within its tick: before it no cursor shows the chunk.
        command = self.controller.tick(Inputs(self._written))
        self._written = None
        assert command is not None, "the gate was opened by start()"
        self._logger.add(command, self._epoch, self.ticks * self._period_ns)
        self.ticks += 1
        return command

    def _until_the_tick(self) -> None:
        """Do what the inference node does between two ticks: write what is due, start the next."""
        while self._running is not None or self._start_inference():
            assert self._running is not None
            due, chunk, request = self._running
            if due > self.ticks:
                return
            self._running = None
            self._logger.add_chunk(chunk)
            self.loop.look(self._cursor())
            self.loop.wrote(chunk, request)
            self._written = chunk

    def _cursor(self) -> CursorState:
        return self.controller.cursor(self.ticks * self._period_ns)

    def _start_inference(self) -> bool:
        """Start the next inference if it is its turn."""
        request = self.loop.next_request(self._cursor())
        if request is None:
            return False
        self._seq += 1
        now_ns, ticks = self.ticks * self._period_ns, self._delay(self._seq)
        chunk = ActionChunk(
            self.loop.blended(self._infer(request, self._seq), request),
            request.origin_step,
            step_epoch=request.step_epoch,
            epoch=self._epoch,
            seq=self._seq,
            rows=request.rows,
            delay=request.horizons.delay,
            stride=request.horizons.stride,
            guided=request.weights is not None,
            observation_ns=now_ns,
            start_ns=now_ns,
            end_ns=now_ns + ticks * self._period_ns,
        )
        self._running = (self.ticks + ticks, chunk, request)
        return True

    def log(self) -> RunLog:
        """Return what was executed so far, as a bag would hold it."""
        return self._logger.log()
