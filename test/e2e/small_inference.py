"""rtc_inference in whose process LeRobot builds π0 and π0.5 small: all else is the real node."""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "policy"))

from rtc_ros.inference import node  # noqa: E402
from rtc_ros.running.entry import leave_after  # noqa: E402


def main() -> None:
    loads = node.load_policy
    with ExitStack() as stack:

        def load_small(*arguments):
            # Imported as late as the node imports LeRobot: when it loads the policy.
            from tiny_pi import small

            for kind in ("pi0", "pi05"):
                stack.enter_context(small(kind))
            return loads(*arguments)

        node.load_policy = load_small
        node.main()


if __name__ == "__main__":
    leave_after(main)
