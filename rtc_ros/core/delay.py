"""The delay buffer Q of Algorithm 1."""

from __future__ import annotations

from collections import deque


class DelayEstimator:
    """Q: the last ``window`` observed delays, whose maximum is the next forecast.

    Delays are counted in control steps, never in seconds. A maximum over a sliding window
    forgets a single slow inference after ``window`` more, and never forecasts below what was
    just seen.

    Args:
        window: b, delays remembered; at least 1.
        initial: the forecast until a delay was observed [steps].
    """

    def __init__(self, window: int, initial: int) -> None:
        if window < 1:
            raise ValueError(f"the delay window is {window}; it must hold at least one delay")
        self._check(initial)
        self._initial, self._expected = int(initial), 0
        self._observed: deque[int] = deque(maxlen=int(window))

    @staticmethod
    def _check(steps: int) -> None:
        if steps < 0 or int(steps) != steps:
            raise ValueError(f"a delay is a whole number of steps from 0 up, got {steps!r}")

    @property
    def window(self) -> int:
        """How many delays are remembered, at most."""
        return self._observed.maxlen or 1

    @property
    def observed(self) -> tuple[int, ...]:
        """The remembered delays, oldest first [steps]."""
        return tuple(self._observed)

    def observe(self, steps: int) -> None:
        """Remember one delay [steps]; the oldest beyond the window is forgotten."""
        self._check(steps)
        self._observed.append(int(steps))

    def expect(self, steps: int) -> None:
        """Forecast at least so many [steps] from now on; 0: no more than was seen.

        For what is known of delays before one is observed. It is no delay of Q's.
        """
        self._check(steps)
        self._expected = int(steps)

    @property
    def seen(self) -> int:
        """max(Q) [steps], or the initial delay while Q is empty."""
        return max(self._observed, default=self._initial)

    def forecast(self) -> int:
        """Return max(Q) [steps], or the initial delay while Q is empty; or what is expected."""
        return max(self._expected, self.seen)

    def restart(self, initial: int, window: int | None = None) -> None:
        """Forget all delays and forecast ``initial`` until one is observed."""
        self.__init__(self.window if window is None else window, initial)  # type: ignore[misc]
