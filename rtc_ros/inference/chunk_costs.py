"""How much longer an inference will take under other settings, from what it took up to now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import CHOOSE, GUIDE
from rtc_ros.policy.protocol import PolicySpec

_REMEMBERED = 5
"""Chunks of one kind; the slowest of them counts."""


class ChunkCosts:
    """What a denoising step costs, for each way in which chunks were made.

    Args:
        spec: of the policy; without a flow no number of steps has an effect.
        warm_s: how long a guided chunk took in the warm-up, with the policy's own ``num_steps``:
            the bound for what wasn't seen yet.
    """

    def __init__(self, spec: PolicySpec, warm_s: float) -> None:
        self._spec, self._warm_s = spec, warm_s
        self._seen: dict[tuple[str | None, str], deque[float]] = {}

    def saw(self, settings: RtcSettings, guided: bool, durations_s: Mapping[str, float]) -> None:
        """Note a chunk: whether the one before had a part in it, and where its time went [s]."""
        kind = _kind(settings) if guided else (None, "")
        took_s = durations_s.get("candidates" if kind[0] == CHOOSE else "denoise")
        if took_s is not None:
            seen = self._seen.setdefault(kind, deque(maxlen=_REMEMBERED))
            seen.append(took_s / self.steps(settings))

    def steps(self, settings: RtcSettings) -> int:
        """Return n."""
        return max(1, settings.num_steps or self._spec.num_steps)

    def seconds(self, settings: RtcSettings) -> float:
        """Return what depends on the settings: the latency that is injected, and the steps [s]."""
        injected_s = settings.inject_latency_ms * 1e-3
        if not self._spec.flow:
            return injected_s
        seen = tuple(self._seen.get(_kind(settings), ()))
        step_s = max(seen, default=self._warm_s / max(1, self._spec.num_steps))
        return injected_s + self.steps(settings) * step_s

    def first_s(self, settings: RtcSettings) -> float:
        """Return how long the first inference may take, before any was seen [s].

        Fewer steps than in the warm-up are no promise: what isn't a step takes as long.
        """
        return max(self.seconds(settings), self._warm_s + settings.inject_latency_ms * 1e-3)


def _kind(settings: RtcSettings) -> tuple[str | None, str]:
    prefix = settings.plan.prefix
    return (prefix, settings.jacobian if prefix == GUIDE else "")
