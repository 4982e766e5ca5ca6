"""rtc_controller, whose process stands still once at a chosen place of its tick, or fails there.

The file STALL_FILE says where, and for how many seconds; it is gone from then on. ``decided``:
between the decision to send a trajectory and sending it; ``deciding``: before that decision.
``failing``: so many ticks raise while they make what is sent.
"""

import os
import time
from pathlib import Path

from rtc_ros.controller import command_output
from rtc_ros.controller import node as controller_node
from rtc_ros.controller.chunk_input import ChunkInput


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


def newest(chunks, epoch, real=ChunkInput.newest):
    """Look for a chunk, and stand still once there is a new one."""
    chunk = real(chunks, epoch)
    if chunk is not None:
        stand_still("deciding")
    return chunk


def prepare(group, *arguments, real=command_output.CommandGroup.prepare, **named):
    """Prepare, or raise."""
    file = Path(os.environ["STALL_FILE"])
    if file.exists() and file.read_text().startswith("failing"):
        left = int(file.read_text().split()[1]) - 1
        if left:
            file.write_text(f"failing {left}")
        else:
            file.unlink()
        raise ArithmeticError("seven is not eight")
    real(group, *arguments, **named)


if __name__ == "__main__":
    command_output.CommandGroup.prepare = prepare
    command_output.serialize_message = serialize
    ChunkInput.newest = newest
    controller_node.main()
