"""Algorithm 1's inference half: when to start, from which rows, expecting which delay."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtc_ros.core.blending import Blender, with_given_rows
from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.cursor import HISTORY_ROWS, CursorState, Mode
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.horizons import Horizons
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import TRAINED

RowFilter = Callable[[np.ndarray, float, int, JointLimits | None], np.ndarray]
"""filter(rows [H, A], cutoff [Hz], how many of the first stay, limits) -> rows [H, A]."""

_MOVING = (Mode.WAITING, Mode.RUNNING, Mode.STARVED)
_CHUNKS_KEPT = 8
_LOOKS_WITHIN = 5
"""Ticks in which a controller has looked at a chunk that an earlier node wrote, or never will."""


@dataclass(frozen=True, eq=False)
class InferenceRequest:
    """One inference to run now.

    ``origin_step`` is the step of the new chunk's row 0. ``prev`` is float64[R, A], what will have
    been executed from there on as far as the previous chunk reaches (robot units), or None for
    a chunk that continues nothing. ``weights`` is W float64[H], None where the sampler is not to
    know of ``prev``. ``rows`` of the new chunk may be executed. ``start_tick`` is the
    controller's tick count at the start and ``forecast`` the delay expected from there;
    ``horizons.delay`` counts from row 0, which may be earlier (``anchor: observation``).
    ``start_step`` is the next step to execute at the start and ``start_still`` the cursor's
    ``still_ticks``, ``previous`` names the chunk that ``prev`` is of, and ``settings`` are those
    that the whole inference goes by, though they change meanwhile. ``limits`` are the
    controller's.
    """

    step_epoch: int
    origin_step: int
    start_tick: int
    forecast: int
    horizons: Horizons
    prev: np.ndarray | None
    weights: np.ndarray | None
    rows: int
    start_step: int = NO_STEP
    previous: tuple[int, int] | None = None
    start_still: int = 0
    settings: RtcSettings = RtcSettings()
    limits: JointLimits | None = None

    def cut(self, trained_delay: int | None) -> int:
        """Return how many rows of d aren't frozen, because the policy was trained for fewer."""
        if not self.continues or trained_delay is None:
            return 0
        return self.settings.rows_cut(self.horizons.frozen, trained_delay)

    @property
    def frozen(self) -> int:
        """How many of the first rows are A_prev's: they stay as they are."""
        return frozen_rows(self.prev, self.weights)

    @property
    def continues(self) -> bool:
        """Whether there is a chunk to go on from."""
        return self.prev is not None


def frozen_rows(prev: np.ndarray | None, weights: np.ndarray | None) -> int:
    """Return how many of the first rows the mask holds to ``prev`` [R, A] entirely."""
    if prev is None or weights is None:
        return 0
    free = np.flatnonzero(weights[: len(prev)] < 1.0)
    return int(free[0]) if len(free) else min(len(prev), len(weights))


def _may_wait(chunk: ActionChunk, cursor: CursorState) -> bool:
    """Tell whether a chunk that was looked at waits for a hold to end: the player took it."""
    return chunk.step_epoch == cursor.epoch and chunk.row_of(cursor.step) is not None


def _is_newer(chunk: ActionChunk, seen: tuple[int, int] | None) -> bool:
    """Tell whether the controller hasn't looked at a chunk yet; ``seen`` is what it looked at."""
    return seen is None or (chunk.epoch == seen[0] and chunk.seq > seen[1])


def _is_finite(chunk: ActionChunk) -> bool:
    return bool(np.isfinite(chunk.actions).all())


class InferenceLoop:
    """Decides, from the step cursor alone, when the next inference starts and what it gets.

    No clock, no ROS, no policy: the caller runs the inference, hands over what ``blended`` makes
    of the result, calls ``look`` right before it writes that, and reports back with ``wrote``.
    Delays enter Q (``estimator``) when a cursor shows the swap.

    Args:
        horizon: H of the policy.
        estimator: Q.
        settings: the settings of the next request; replace them at any time.
        known: a chunk of an earlier run of this process that the controller may be executing.
        trained_delay: d up to which the policy was trained to go on from given rows; None: any.
        row_filter: what ``filter_cutoff`` asks for; None: it can't be asked for.
    """

    def __init__(
        self,
        horizon: int,
        estimator: DelayEstimator,
        settings: RtcSettings,
        known: ActionChunk | None = None,
        trained_delay: int | None = None,
        row_filter: RowFilter | None = None,
    ) -> None:
        self.horizon = horizon
        self.row_filter = row_filter
        self.estimator = estimator
        self.settings = settings
        self.refused_chunks = 0
        self.under_forecasts = 0
        self.trained_delay = trained_delay
        self.last_delay = NO_STEP
        self._chunks: OrderedDict[tuple[int, int], ActionChunk] = OrderedDict()
        self._epoch: int | None = None
        self._blender = Blender()
        # At most two: the next inference may start as soon as a chunk is written (s = d).
        self._unseen: list[tuple[ActionChunk, InferenceRequest]] = []
        self._first = True
        """Whether no chunk of this loop was in use yet: that inference may be slow as no other."""
        self._under: deque[tuple[int, RtcSettings]] = deque(maxlen=estimator.window)
        self._known = known if known is not None and _is_finite(known) else None
        self._known_at: int | None = None
        if self._known is not None:
            self._remember(self._known)

    def next_request(
        self, cursor: CursorState | None, observed_step: int | None = None
    ) -> InferenceRequest | None:
        """Return the inference to start now, or None while there is none to start.

        ``observed_step`` is the step at which the oldest image was taken, for
        ``anchor: observation``; None means now.
        """
        if cursor is None:
            return None
        self.look(cursor)
        if len(self._unseen) > 1 or cursor.mode not in _MOVING:
            return None
        # Once for all of it: another thread may replace them at any time.
        settings = self.settings
        current = self._current(cursor)
        if current is None or cursor.step >= current.end_step:
            # Nothing to go on from, and what was written last may still be on its way.
            return None if self._unseen else self._request(settings, cursor, cursor.step, None)
        if settings.plan.pauses or not self._is_due(settings, cursor, current):
            return None
        origin = cursor.step
        if settings.anchor == "observation" and observed_step is not None:
            origin = self._anchor(cursor, current, observed_step)
        return self._request(settings, cursor, origin, current)

    def blended(self, actions: np.ndarray, request: InferenceRequest) -> np.ndarray:
        """Return the rows [H, A] to hand over for what the policy made (robot units).

        To be called with each chunk once, in order; most strategies leave it as it is. Given rows
        become A_prev to the bit, whatever units and scales they went through. Raises ValueError
        where the settings ask for a filter that this loop hasn't got.
        """
        settings = request.settings
        if settings.plan.prefix == TRAINED:
            actions = with_given_rows(actions, request.prev, request.weights)
        made = self._blender.blend(
            settings.plan.blend,
            actions,
            request.origin_step,
            request.step_epoch,
            request.prev,
            settings.ensemble_decay,
            settings.average_new,
            request.limits,
        )
        if not settings.filter_cutoff:
            return made
        if self.row_filter is None:
            raise ValueError(f"filter_cutoff is {settings.filter_cutoff:g} Hz: no filter here")
        return self.row_filter(made, settings.filter_cutoff, request.frozen, request.limits)

    def wrote(self, chunk: ActionChunk, request: InferenceRequest) -> None:
        """Note that ``chunk`` (as named by the ring) is on its way to the controller.

        One with values that aren't finite is refused there: nothing is to go on from it.
        """
        if not _is_finite(chunk):
            self.refused_chunks += 1
            return
        self._remember(chunk)
        if request.step_epoch == self._epoch:  # else another run of the step count began
            self._unseen.append((chunk, request))

    def _remember(self, chunk: ActionChunk) -> None:
        self._chunks[chunk.name] = chunk
        while len(self._chunks) > _CHUNKS_KEPT:
            self._chunks.popitem(last=False)

    def look(self, cursor: CursorState) -> None:
        """Find out what became of the chunks that were on their way.

        The one before comes into use while an inference runs, and may be replaced as soon as that
        one's chunk is written: whoever doesn't look before never learns its delay.
        """
        if cursor.epoch != self._epoch:
            self._epoch = cursor.epoch
            self._unseen.clear()
        self._look_for_known(cursor)
        if cursor.seen_name is not None:  # what it passed over it won't come back to
            epoch, seq = cursor.seen_name
            self._unseen = [
                (chunk, request)
                for chunk, request in self._unseen
                if chunk.epoch != epoch or chunk.seq >= seq or chunk.name == cursor.chunk_name
            ]
        for i, (chunk, request) in enumerate(self._unseen):
            if chunk.name not in (cursor.chunk_name, cursor.seen_name):
                continue
            if cursor.chunk_name == chunk.name:
                self._observe(cursor, request)
            elif _may_wait(chunk, cursor):
                # Motion goes on with it. Another one would be made without guidance, and arrive
                # in the middle of it.
                return
            else:
                self.refused_chunks += 1
            del self._unseen[: i + 1]
            return

    def _look_for_known(self, cursor: CursorState) -> None:
        """Forget a chunk of an earlier node that isn't on its way: a link may have dropped it."""
        if self._known is None:
            return
        ticks = cursor.tick + cursor.still_ticks
        self._known_at = ticks if self._known_at is None else self._known_at
        if not _is_newer(self._known, cursor.seen_name):
            self._known = None
        elif not 0 <= ticks - self._known_at <= _LOOKS_WITHIN:
            self._chunks.pop(self._known.name, None)
            self._known = None

    def _observe(self, cursor: CursorState, request: InferenceRequest) -> None:
        # Ticks starved count, or starving would look quick.
        delay, pauses = cursor.swap_tick - request.start_tick, request.settings.plan.pauses
        first, self._first = self._first, False
        # Made while the arm holds, and without guidance, a chunk says nothing about d, unless
        # every one is made like that.
        if not request.continues and (first or not pauses):
            return
        # Ticks stood still before it came, for a fault or a driver on its way: nobody knows how
        # long it took.
        if cursor.swap_still != request.start_still:
            return
        if request.settings == self.settings:
            self.estimator.expect(0)  # what was expected of these settings has shown
        if not pauses:
            self.last_delay = delay
            self.under_forecasts += delay > request.forecast
        self.estimator.observe(delay)
        self._under.append((delay, request.settings))

    @property
    def reference(self) -> tuple[int, RtcSettings] | None:
        """The largest remembered delay under the newest settings that have one, and those."""
        under = tuple(self._under)
        if not under:
            return None
        newest = under[-1][1]
        return max(delay for delay, settings in under if settings == newest), newest

    def _current(self, cursor: CursorState) -> ActionChunk | None:
        """Return the chunk that the next tick will play, as far as it is known here."""
        if self._unseen and self._unseen[0][0].row_of(cursor.step) is not None:
            return self._unseen[0][0]
        # An inherited one may wait, too, or be on its way: the controller looks at its next tick.
        waits = self._chunks.get(cursor.seen_name) if cursor.seen_name else None
        for chunk in (self._known, waits):
            if chunk is not None and _may_wait(chunk, cursor):
                return chunk
        name = cursor.chunk_name
        return None if name is None else self._chunks.get(name)

    def _is_due(self, settings: RtcSettings, cursor: CursorState, current: ActionChunk) -> bool:
        since = current.origin_step
        if settings.count_from == "swap":
            in_use = cursor.chunk_name == current.name
            since = cursor.swap_step if in_use else cursor.step
        runs_out = current.end_step - cursor.step <= self.estimator.forecast()
        return cursor.step - since >= settings.least_stride or runs_out

    @staticmethod
    def _anchor(cursor: CursorState, current: ActionChunk, observed_step: int) -> int:
        # Row 0 can't be before the current chunk's, nor before what the cursor remembers.
        step = max(min(observed_step, cursor.step), current.origin_step)
        while step < cursor.step and cursor.executed(step) is None:
            step += 1
        return step

    def _request(
        self,
        settings: RtcSettings,
        cursor: CursorState,
        origin: int,
        current: ActionChunk | None,
    ) -> InferenceRequest:
        stride = 0 if current is None else origin - current.origin_step
        forecast = self.estimator.forecast()
        delay = forecast + cursor.step - origin
        horizons = Horizons(self.horizon, delay, min(stride, self.horizon))
        prev = None if current is None else self._will_be_executed(cursor, origin, current)
        weights = None
        if prev is not None:
            weights = settings.weights(
                self.horizon, delay, horizons.stride, len(prev), self.trained_delay
            )
        return InferenceRequest(
            step_epoch=cursor.epoch,
            origin_step=origin,
            start_tick=cursor.tick,
            forecast=forecast,
            horizons=horizons,
            prev=prev,
            weights=weights,
            rows=settings.s_min if settings.plan.pauses else self.horizon,
            start_step=cursor.step,
            previous=None if current is None else current.name,
            start_still=cursor.still_ticks,
            settings=settings,
            limits=cursor.limits,
        )

    @staticmethod
    def _will_be_executed(cursor: CursorState, origin: int, current: ActionChunk) -> np.ndarray:
        """A_prev: the rows from step ``origin`` on, as the controller's limits let them out.

        An endless joint's rows are told in the turn in which the chunk has them.
        """
        steps = np.arange(origin, cursor.step)
        wanted = current.actions[: current.rows]
        ahead = cursor.next_rows(wanted, cursor.step - current.origin_step)
        rows = np.concatenate([cursor.history[steps % HISTORY_ROWS], ahead])
        return cursor.limits.nearest(rows, wanted[origin - current.origin_step :])
