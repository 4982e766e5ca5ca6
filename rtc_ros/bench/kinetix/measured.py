"""What one point came to, and where it is found again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtc_ros.bench.kinetix.episodes import Outcome
from rtc_ros.bench.kinetix.points import Point, told_as
from rtc_ros.bench.results import Results
from rtc_ros.core.proportion import wilson


@dataclass(frozen=True)
class Measured:
    """One point's figures.

    ``done`` of ``episodes``, with Wilson's 95 % interval; ``steps`` the median step at which they
    were done (nan: never); ``speed`` the mean over all episodes of the share of the time left when
    it was done, 0 where it never was; ``jerk`` and ``seam`` means of ``Outcome``'s; ``which`` says
    which episodes, in bits; ``policy`` is a digest of the policy and its level.
    """

    key: str
    sweep: str
    task: str
    method: str
    variant: str
    delay: int
    stride: int
    episodes: int
    done: int
    low: float
    high: float
    failed: int
    steps: float
    speed: float
    jerk: float
    seam: float
    seconds: float
    which: str
    policy: str = ""

    @property
    def share(self) -> float:
        """The proportion done."""
        return self.done / self.episodes

    @property
    def line(self) -> str:
        """See ``Point``."""
        return told_as(self.sweep, self.method, self.variant)

    @property
    def each(self) -> np.ndarray:
        """Which episodes were done, bool[episodes]."""
        bits = np.frombuffer(bytes.fromhex(self.which), np.uint8)
        return np.unpackbits(bits, count=self.episodes).astype(bool)


def measured(
    point: Point, outcome: Outcome, steps: int, seconds: float, policy: str = ""
) -> Measured:
    """Return the figures of one point; ``steps`` is the length of an episode."""
    episodes, done = len(outcome.done), int(outcome.done.sum())
    low, high = wilson(done, episodes)
    left = np.where(outcome.done, 1.0 - outcome.done_step / steps, 0.0)
    steps_done = outcome.done_step[outcome.done]
    named = ("key", "sweep", "task", "method", "variant", "delay", "stride")
    return Measured(
        **{name: getattr(point, name) for name in named},
        episodes=episodes,
        done=done,
        low=low,
        high=high,
        failed=int(outcome.failed.sum()),
        steps=float(np.median(steps_done)) if done else float("nan"),
        speed=float(left.mean()),
        jerk=float(outcome.jerk.mean()),
        seam=float(outcome.seam.mean()),
        seconds=round(seconds, 2),
        which=np.packbits(outcome.done).tobytes().hex(),
        policy=policy,
    )


def find(results: Results, point: Point, policy: str) -> Measured | None:
    """Return what was measured for ``point``, whichever sweep it was measured in.

    ``policy`` is the digest of the policy and its level: figures of others aren't the point's.

    Raises:
        ValueError: the folder has something else in its place.
    """
    row = results.rows.get(point.key)
    if row is None or row.get("policy") != policy:
        return None
    here = {"sweep": point.sweep, "method": point.method, "variant": point.variant,
            "stride": point.stride}  # fmt: skip
    try:
        found = Measured(**{**row, **here})
        size = len(bytes.fromhex(found.which))
        if size != -(-found.episodes // 8) or found.each.sum() != found.done or not size:
            raise ValueError("its episodes aren't those that it counts")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{point.key} in {results.path} can't be used: {error}") from error
    return found
