"""`rtc_ros bench kinetix`: with `train` first it trains, else it measures."""

from __future__ import annotations

from collections.abc import Sequence

from rtc_ros.bench.kinetix import evaluate, train


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the two."""
    words = list(argv or ())
    if words and words[0] == "train":
        return train.main(words[1:])
    return evaluate.main(words)
