"""Measured points: one JSON object a line, so that a sweep that was stopped goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rtc_ros.bench.tasks.episodes import Outcome
from rtc_ros.bench.tasks.points import Point, told_as
from rtc_ros.core.proportion import wilson


@dataclass(frozen=True)
class Measured:
    """One point's figures.

    ``done`` of ``episodes``, with Wilson's 95 % interval; ``steps`` the median step at which they
    were done (nan: never); ``speed`` the mean over all episodes of the share of the time left when
    it was done, 0 where it never was; ``jerk`` and ``seam`` means of ``Outcome``'s [N].
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


def measured(point: Point, outcome: Outcome, steps: int, seconds: float) -> Measured:
    """Return the figures of one point; ``steps`` is the length of an episode."""
    episodes, done = len(outcome.done), int(outcome.done.sum())
    low, high = wilson(done, episodes)
    left = np.where(outcome.done, 1.0 - outcome.done_step / steps, 0.0)
    return Measured(
        point.key,
        point.sweep,
        point.task,
        point.method,
        point.variant,
        point.delay,
        point.stride,
        episodes,
        done,
        low,
        high,
        int(outcome.failed.sum()),
        float(np.median(outcome.done_step[outcome.done])) if done else float("nan"),
        float(left.mean()),
        float(outcome.jerk.mean()),
        float(outcome.seam.mean()),
        round(seconds, 2),
        np.packbits(outcome.done).tobytes().hex(),
    )


class Results:
    """A folder's ``results.jsonl``. Made for one set of conditions, which its first line tells.

    The file is made with the first result. To look at what ``measured`` results are there, say
    only the conditions that they must have; ``conditions`` has them all then.

    Raises:
        ValueError: the folder holds results of other conditions, or none where it must, or can't
            be one.
    """

    def __init__(
        self, folder: Path, conditions: dict[str, object], *, measured: bool = False
    ) -> None:
        self.path = folder / "results.jsonl"
        self.rows: dict[str, dict[str, object]] = {}
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        if not self.path.exists():
            if measured:
                raise ValueError(f"{folder} holds no results: there is no {self.path.name} in it")
            self.conditions = conditions
            return
        text = self.path.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # killed while it wrote
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")
        first, *lines = text.splitlines() or [""]
        try:
            before = json.loads(first)["conditions"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} isn't from this command") from error
        self.conditions = before
        other = [k for k, v in conditions.items() if before.get(k) != v]
        if other:
            told = ", ".join(f"{k} {before.get(k)} (now {conditions[k]})" for k in other)
            raise ValueError(
                f"{self.path} was made with {told}: name another folder, or remove this one"
            )
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # what was being written then
            self.rows[row["key"]] = row

    def find(self, point: Point) -> Measured | None:
        """Return what was measured for ``point``, whichever sweep it was measured in."""
        row = self.rows.get(point.key)
        if row is None:
            return None
        here = {"sweep": point.sweep, "method": point.method, "variant": point.variant,
                "stride": point.stride}  # fmt: skip
        return Measured(**{**row, **here})  # type: ignore[arg-type]

    def add(self, one: Measured) -> None:
        """Keep one point's figures."""
        self.keep(one.key, asdict(one))

    def keep(self, key: str, figures: dict[str, object]) -> None:
        """Keep the figures of any point; ``figures`` has its ``key``, too."""
        self.rows[key] = figures
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            first = json.dumps({"conditions": self.conditions})
            self.path.write_text(first + "\n", encoding="utf-8")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
