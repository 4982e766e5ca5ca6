"""What the two processes say to each other: a line of JSON, then the arrays that it announces."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any, BinaryIO

import numpy as np


def own_stdout() -> BinaryIO:
    """Return standard output for messages alone; what libraries print goes to standard error."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def send(file: BinaryIO, header: dict[str, Any], *arrays: np.ndarray) -> None:
    """Write one message."""
    announced = [[a.dtype.str, a.shape] for a in arrays]
    file.write(json.dumps({**header, "arrays": announced}).encode() + b"\n")
    for array in arrays:
        file.write(np.ascontiguousarray(array).tobytes())
    file.flush()


def receive(file: BinaryIO) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read one message.

    Raises:
        EOFError: the other side is gone.
    """
    line = file.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the other process has ended")
    header = json.loads(line)
    arrays = []
    for kind, shape in header.pop("arrays"):
        size = np.dtype(kind).itemsize * math.prod(shape)
        data = file.read(size)
        if len(data) < size:
            raise EOFError("the other process has ended")
        arrays.append(np.frombuffer(data, kind).reshape(shape))
    return header, arrays
