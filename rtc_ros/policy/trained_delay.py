"""How many given rows a checkpoint was trained to go on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtc_ros.policy.checkpoint_files import CONFIG, CheckpointError, read_json
from rtc_ros.policy.image_positions import TRAINED_WITH

MAX_DELAY = "rtc_training_max_delay"
"""LeRobot's name for it. Its SmolVLA has no such field and refuses a config.json that has one, so
our writer of checkpoints puts it into ``trained_with.json``."""


def trained_delay(folder: Path, config: Mapping[str, Any]) -> int:
    """Return the largest d of its training; 0 where it was trained without given rows.

    Raises:
        CheckpointError: what is said there can't be.
    """
    record = read_json(folder / TRAINED_WITH) if (folder / TRAINED_WITH).is_file() else {}
    rows = int(config.get("chunk_size", 50))
    for file, said in ((CONFIG, config), (TRAINED_WITH, record)):
        delay = said.get(MAX_DELAY)
        if delay is None:
            continue
        if type(delay) is not int or not 0 <= delay < rows:
            raise CheckpointError(
                f"{folder / file}: {MAX_DELAY} is {json.dumps(delay)}, it must be a whole number "
                f"from 0 to {rows - 1}, below the {rows} rows of a chunk"
            )
        return delay
    return 0
