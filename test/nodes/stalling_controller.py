"""rtc_controller, whose process stands still once between a decision and what it sends of it.

The file STALL_FILE says for how many seconds; it is gone from then on.
"""

import os
import time
from pathlib import Path

from rtc_ros.nodes import command_output, controller_node


def serialize(message, real=command_output.serialize_message):
    """Serialize, and stand still."""
    made = real(message)
    file = Path(os.environ["STALL_FILE"])
    if file.exists():
        seconds = float(file.read_text())
        file.unlink()
        time.sleep(seconds)
    return made


if __name__ == "__main__":
    command_output.serialize_message = serialize
    controller_node.main()
