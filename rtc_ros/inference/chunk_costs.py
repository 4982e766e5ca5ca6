"""How much longer an inference will take under other settings, from what it took up to now."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping

from rtc_ros.core.settings import RtcSettings
from rtc_ros.core.strategies import CHOOSE, GUIDE
from rtc_ros.policy.protocol import PolicySpec

_REMEMBERED = 5
"""Chunks of one kind; their median counts: a single slow one is Q's."""
_FORGOTTEN = 50
"""Chunks of other kinds after which a kind's costs are of another time."""

_Kind = tuple[str | None, str]
"""How a chunk was made: the strategy's ``prefix``, and its variant."""


class ChunkCosts:
    """What a denoising step costs, for each way in which chunks were made.

    Args:
        spec: of the policy; without a flow no number of steps has an effect.
        warm_s: how long a guided chunk took in the warm-up, with the policy's own ``num_steps``:
            the bound for what wasn't seen yet, or long ago.
    """

    def __init__(self, spec: PolicySpec, warm_s: float) -> None:
        self._spec, self._warm_s, self._chunks = spec, warm_s, 0
        self._seen: dict[_Kind, deque[tuple[int, float]]] = {}
        """What a step took [s], after which number of chunks."""

    def saw(self, settings: RtcSettings, guided: bool, durations_s: Mapping[str, float]) -> None:
        """Note a chunk: whether the one before had a part in it, and where its time went [s]."""
        kind = _kind(settings) if guided else (None, "")
        took_s = durations_s.get("candidates" if kind[0] == CHOOSE else "denoise")
        self._chunks += 1
        if took_s is not None:
            seen = self._seen.get(kind)
            if seen is None or self._is_old(kind):
                seen = deque(maxlen=_REMEMBERED)
            seen.append((self._chunks, took_s / self._times(settings, kind)))
            self._seen[kind] = seen  # whole: another thread reads it

    def _is_old(self, kind: _Kind) -> bool:
        """Tell whether what is known of a kind is of another time."""
        return self._chunks - self._seen[kind][-1][0] > _FORGOTTEN

    def steps(self, settings: RtcSettings) -> int:
        """Return n."""
        return max(1, settings.num_steps or self._spec.num_steps)

    def _times(self, settings: RtcSettings, kind: _Kind) -> int:
        """Return how many steps a chunk is made of: those of all candidates, but in a batch."""
        one_by_one = kind[0] == CHOOSE and not self._spec.batches
        return self.steps(settings) * (settings.bid_candidates if one_by_one else 1)

    def seconds(self, settings: RtcSettings, *, hopeful: bool = False) -> float:
        """Return what depends on the settings: the latency that is injected, and the steps [s].

        ``hopeful``: what was slow long ago is taken to be as quick as in the warm-up.
        """
        injected_s = settings.inject_latency_ms * 1e-3
        if not self._spec.flow:
            return injected_s
        kind, bound_s = _kind(settings), self._warm_s / max(1, self._spec.num_steps)
        # tuple(): the worker may add one meanwhile.
        seen = [each_s for _, each_s in tuple(self._seen.get(kind, ()))]
        step_s = statistics.median(seen) if seen else bound_s
        if hopeful and seen and self._is_old(kind):
            step_s = min(step_s, bound_s)
        return injected_s + self._times(settings, kind) * step_s

    def first_s(self, settings: RtcSettings) -> float:
        """Return how long the first inference may take, before any was seen [s].

        Fewer steps than in the warm-up are no promise: what isn't a step takes as long. Of
        candidates one is counted: how much less than one after the other they take isn't known.
        """
        one = self.seconds(settings.changed(bid_candidates=1))
        return max(one, self._warm_s + settings.inject_latency_ms * 1e-3)


def _kind(settings: RtcSettings) -> _Kind:
    prefix = settings.plan.prefix
    if prefix == CHOOSE:
        return prefix, "contrast" if settings.bid_contrast else ""
    return prefix, settings.jacobian if prefix == GUIDE else ""
