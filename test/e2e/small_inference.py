"""rtc_inference in whose process LeRobot builds π0 and π0.5 small: all else is the real node."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "policy"))

from tiny_pi import small  # noqa: E402

from rtc_ros.inference import node  # noqa: E402
from rtc_ros.running.entry import leave_after  # noqa: E402


def main() -> None:
    with small("pi0"), small("pi05"):
        node.main()


if __name__ == "__main__":
    leave_after(main)
