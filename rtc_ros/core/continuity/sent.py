"""What drivers of rows were sent, in time: the executed rows and what lies between them.

A driver stands where it was told last, so what it is told is a staircase in time: of rows alone
with large, seldom steps, of set points between them with small ones. How smooth it is, is said by
its second and third differences in time, and by what of it lies above half the rows' rate: rows
can say nothing that is faster, so that is the steps themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtc_ros.core.continuity.sections import worst_of
from rtc_ros.core.continuity.spread import Spread, SpreadSum

FINE_HZ = 1000.0
"""The staircase is looked at this often at the least."""
WINDOW_S = 2.0
"""Each spectrum is that of so long a stretch, of at least as much."""
BINS = 120
"""Of the spectrum that a report keeps, at even ratios of frequency."""


@dataclass(frozen=True)
class Spectrum:
    """Amplitude [robot units / √Hz], RMS over the joints, at ``frequency_hz``.

    ``sent``: of what was sent; ``rows``: of the same with one message per row.
    """

    frequency_hz: tuple[float, ...]
    sent: tuple[float, ...]
    rows: tuple[float, ...]


@dataclass(frozen=True)
class SentFigures:
    """Of what drivers of rows were sent, at ``rate_hz``, ``points`` messages for each row.

    ``messages`` are those of ``rows`` executed rows; of ``lost`` more ticks some weren't recorded.
    ``unsent`` set points were not sent in time. ``acceleration`` and ``jerk`` are the largest
    joint's, in time. ``above_rms`` is what of it is above half the rows' rate, RMS over the
    joints; None where no stretch was long enough. ``rows_…`` are the same of one message per row,
    looked at as often.
    """

    rate_hz: float
    points: int
    messages: int
    rows: int
    lost: int
    unsent: int
    acceleration: Spread | None
    jerk: Spread | None
    rows_acceleration: Spread | None
    rows_jerk: Spread | None
    above_rms: float | None
    rows_above_rms: float | None
    spectrum: Spectrum | None


class SentSum:
    """Sums up what drivers were sent, stretch by stretch, in memory that doesn't grow."""

    def __init__(self, period_s: float, points: int) -> None:
        self.points = points
        self._point_s = period_s / points
        self._row_hz = 1 / period_s
        self._repeat = max(1, int(np.ceil(self._point_s * FINE_HZ - 1e-9)))
        self._fine_hz = self._repeat / self._point_s
        self._size = int(2 ** np.ceil(np.log2(WINDOW_S * self._fine_hz)))
        self._sizes = {(which, order): SpreadSum() for which in (0, 1) for order in (2, 3)}
        self._power = np.zeros((2, self._size // 2 + 1))
        self._windows = 0
        self.messages = self.rows = self.lost = self.unsent = 0

    def add(self, values: np.ndarray, ends: np.ndarray) -> None:
        """Take a stretch of set points [N, A], one m-th of a period apart; NaN: not known.

        ``ends`` bool[N] says which of them are the last ones of their periods.
        """
        # One message per row: it is there at once, where its period's last one is.
        last = np.flatnonzero(ends)
        if not len(last):
            return
        which = last[np.searchsorted(last, np.arange(len(values)), side="right") - 1]
        alone = np.where(np.isnan(values), np.nan, values[which])
        alone[: last[0]] = np.nan
        for (rows, order), total in self._sizes.items():
            if len(values) > order:
                sizes = np.abs(np.diff(alone if rows else values, order, axis=0))
                total.add(worst_of(sizes / self._point_s**order))
        both = np.stack([values, alone])
        known = np.concatenate([[False], np.isfinite(both).all(axis=(0, 2)), [False]])
        edges = np.flatnonzero(known[1:] != known[:-1])
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            self._add_spectra(np.repeat(both[:, begin:end], self._repeat, axis=1))

    def _add_spectra(self, both: np.ndarray) -> None:
        """Take the spectra of an unbroken stretch [2, N, A]: of what was sent, of rows alone."""
        window = np.hanning(self._size)[:, None]
        place = np.linspace(-1.0, 1.0, self._size)[:, None]
        scale = 2 / (self._fine_hz * (window**2).sum())
        for begin in range(0, both.shape[1] - self._size + 1, self._size // 2):
            part = both[:, begin : begin + self._size]
            part = part - part.mean(axis=1, keepdims=True)
            slope = (part * place).sum(axis=1, keepdims=True) / (place**2).sum()
            lines = np.abs(np.fft.rfft((part - slope * place) * window, axis=1)) ** 2 * scale
            self._power += lines.mean(axis=2)
            self._windows += 1

    def figures(self) -> SentFigures | None:
        """Return them; None where nothing was sent."""
        if not self.messages:
            return None
        above: list[float | None] = [None, None]
        spectrum = None
        if self._windows:
            power, step_hz = self._power / self._windows, self._fine_hz / self._size
            hz = np.arange(power.shape[1]) * step_hz
            fast = hz > self._row_hz / 2
            above = [float(np.sqrt(p[fast].sum() * step_hz)) for p in power]
            edges = np.geomspace(step_hz, hz[-1], BINS + 1)
            place = np.digitize(hz, edges) - 1
            kept = [i for i in range(BINS) if (place == i).any()]
            density = np.sqrt([[p[place == i].mean() for i in kept] for p in power])
            middles = [float(hz[place == i].mean()) for i in kept]
            spectrum = Spectrum(tuple(middles), *(tuple(map(float, d)) for d in density))
        return SentFigures(
            1 / self._point_s, self.points, self.messages, self.rows, self.lost, self.unsent,
            self._sizes[0, 2].spread(), self._sizes[0, 3].spread(),
            self._sizes[1, 2].spread(), self._sizes[1, 3].spread(),
            above[0], above[1], spectrum,
        )  # fmt: skip
