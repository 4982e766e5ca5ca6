"""The process that runs the parts of `rtc_ros bench gpu`: asked by lines, answers by lines."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

NEEDS: dict[str, tuple[str, ...]] = {
    "machine": (),
    "tests": ("torch", "pytest", "hypothesis", "rtc_ros.policy.lerobot_compat"),
}
"""What a part imports, where it isn't what measuring takes."""
TO_MEASURE = ("numpy", "torch", "transformers", "num2words", "rtc_ros.policy.lerobot_compat")
REMEDY = "scripts/gpu_wheels.sh collects what can be carried"
ALARM_S = 10.0
"""How long after a part's time its process ends by itself, should nobody end it."""


class Out:
    """What a part says, and how long it may go on."""

    def __init__(self, write: Callable[[dict[str, Any]], None], seconds: float) -> None:
        self._write, self._end = write, time.monotonic() + seconds

    def left(self) -> float:
        """Return how much of the part's time is left [s]."""
        return self._end - time.monotonic()

    def row(self, what: str, **cells: Any) -> None:
        """Say a row: figures, or a ``reason`` why there are none."""
        self._write({"row": {"what": what, **cells}})

    def where(self, **facts: Any) -> None:
        """Say what is known of the machine."""
        self._write({"where": facts})


def missing(part: str) -> str:
    """Return why what the part needs can't be imported; "" where it can."""
    reasons = []
    for name in NEEDS.get(part, TO_MEASURE):
        try:
            importlib.import_module(name)
        except Exception as error:  # a package that is there may raise whatever it likes
            reasons.append(f"{name} can't be imported: {type(error).__name__}: {error}"[:200])
    return "; ".join([*reasons, REMEDY] if reasons else [])


def run(part: str, size: str, out: Out) -> dict[str, str]:
    """Run a part; return how it ended."""
    why = missing(part)
    if why:
        return {"status": "skipped", "reason": why}
    from rtc_ros.bench import gpu_machine

    try:
        if part in NEEDS:
            return gpu_machine.PARTS[part](out)
        from rtc_ros.bench import gpu_parts

        gpu_parts.run(part, gpu_parts.context(size), out)
    except Exception as error:  # the next part may work all the same
        traceback.print_exc()
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:500]}
    return {"status": "done"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that standard input asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("auto", "full", "small"), default="auto")
    parser.add_argument("--to", type=int, required=True, help="file descriptor of the answers")
    options = parser.parse_args(argv)
    os.set_inheritable(options.to, False)

    def write(said: dict[str, Any]) -> None:
        os.write(options.to, json.dumps(said, ensure_ascii=False).encode() + b"\n")

    for line in sys.stdin:
        asked = json.loads(line)
        print(f"== {asked['part']}", flush=True)
        signal.setitimer(signal.ITIMER_REAL, asked["seconds"] + ALARM_S)
        write(run(asked["part"], options.size, Out(write, asked["seconds"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
