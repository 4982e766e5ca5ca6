"""One tick of the motion: follow what a driver did meanwhile, decide, and send."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from rclpy.clock import Clock
from rclpy.duration import Duration
from rclpy.time import Time

from rtc_ros.controller.chunk_input import ChunkInput
from rtc_ros.controller.command_output import CommandGroup
from rtc_ros.core.command import Command, without
from rtc_ros.core.controller import Controller

_TRIES = 3
"""Decisions of one tick: on a machine on which each takes longer than Δt, the last is sent."""


class ControlTick:
    """Plays one step per tick, and sends it.

    A driver that was sent a chunk goes on along it while this process stands still, and can't be
    told to stop. So the ticks that were missed are played as it played them, and what it is sent
    next begins where it then is. A decision within which the process stood still is taken back
    and made again: nothing goes out that is a whole period old.

    Args:
        controller: plays, limits, holds.
        groups: the drivers.
        chunks: what the inference node wrote.
        look: looks at the joint states, and sets or lifts the fault; told how many ticks were
            missed since it last did.
        lost: gives up the deadlines missed since it was last asked, and returns how many.
        late_s: how late the last deadline's tick is by now [s].
        period_s: Δt.
    """

    def __init__(
        self,
        controller: Controller,
        groups: Sequence[CommandGroup],
        chunks: ChunkInput,
        look: Callable[[int], None],
        lost: Callable[[], int],
        late_s: Callable[[], float],
        period_s: float,
    ) -> None:
        self._controller = controller
        self._groups = groups
        self._chunks = chunks
        self._look = look
        self._lost = lost
        self._late_s = late_s
        self._unseen = 0
        self._period_s = period_s
        self._plays_chunks = any(group.plays_chunks for group in groups)

    def run(self, missed: int, clock: Clock) -> list[tuple[Command, Time]]:
        """Play and send one step; return the commands since the last tick, each with its time.

        ``missed`` ticks since the last one, as far as a driver played them, come first.
        """
        done: list[tuple[Command, int]] = []
        self._unseen += missed
        for left in reversed(range(_TRIES)):
            done += self._follow(missed)
            while missed := self._missed():  # while it waited for the lock, or followed
                done = [(command, ago + missed) for command, ago in done] + self._follow(missed)
            self._offer()
            before = self._controller.snapshot() if self._plays_chunks else None
            if not self._controller.stopped:
                self._look(self._unseen)
            self._unseen = 0
            command, now = self._controller.tick(), clock.now()
            ahead = functools.cache(self._controller.ahead)
            late_s = self._late_s()
            for group in self._groups:
                group.prepare(command, ahead, now.to_msg(), late_s)
            if before is None or not left or not (missed := self._missed()):
                break
            self._controller.restore(before)
            done = [(command, ago + missed) for command, ago in done]
        for group in self._groups:
            group.publish()
        if ahead.cache_info().currsize:  # somebody was sent it
            self._missed()  # until then, so no time in which it was played
        if command is not None:
            done.append((command, 0))
        period_ns = round(self._period_s * 1e9)
        return [(command, now - Duration(nanoseconds=ago * period_ns)) for command, ago in done]

    def _missed(self) -> int:
        missed = self._lost()
        self._unseen += missed
        return missed

    def _offer(self) -> None:
        chunk = self._chunks.newest(self._controller.player.epoch)  # each of them once
        if chunk is not None and not self._controller.stopped:
            self._controller.offer(chunk)

    def _follow(self, missed: int) -> list[tuple[Command, int]]:
        """Go through the ticks that were missed as far as drivers that were sent chunks did.

        Return their commands, each with the ticks since then. Drivers of single rows beside one
        of chunks stood still, and their joints begin there again.
        """
        controller = self._controller
        done: list[tuple[Command, int]] = []
        at, step = controller.target, controller.player.step
        if not self._plays_chunks or at is None:
            return []
        playing = any(group.playing for group in self._groups)

        def still() -> bool:
            return controller.settled and (controller.stopped or not controller.last_step.any())

        for ago in range(missed, 0, -1):
            if still() and not playing:
                break
            command = controller.play_on() if playing else controller.tick(swaps=False)
            assert command is not None, "it is braking"
            done.append((command, ago))
            if command.wanted is None and still():
                break
        standing = [c for g in self._groups if not g.plays_chunks for c in g.columns]
        if done and standing:
            controller.stood_still(standing, at, step)
            for group in self._groups:
                group.send_anew()
            done = [(without(command, standing, at), ago) for command, ago in done]
        return done
