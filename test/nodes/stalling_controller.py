"""rtc_controller, whose process stands still once at a chosen place of its tick.

The file STALL_FILE says where, and for how many seconds; it is gone from then on. ``decided``:
between the decision to send a trajectory and sending it; ``deciding``: before that decision.
"""

import os
import time
from pathlib import Path

from rtc_ros.controller import command_output
from rtc_ros.controller import node as controller_node
from rtc_ros.controller.tick import ControlTick


def stand_still(where):
    """Do so if it was asked for here."""
    file = Path(os.environ["STALL_FILE"])
    if file.exists():
        place, seconds = file.read_text().split()
        if place == where:
            file.unlink()
            time.sleep(float(seconds))


def serialize(message, real=command_output.serialize_message):
    """Serialize, and stand still."""
    made = real(message)
    stand_still("decided")
    return made


def offer(tick, real=ControlTick._offer):
    """Look for a chunk, and stand still once there is a new one."""
    seen = tick._controller.player.seen
    real(tick)
    if tick._controller.player.seen != seen:
        stand_still("deciding")


if __name__ == "__main__":
    command_output.serialize_message = serialize
    ControlTick._offer = offer
    controller_node.main()
