"""Entry of the engine's process: ``serve`` episodes of a level, or ``train`` an expert on it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path


def main() -> int:
    """Set up the process, then run; 0, or 2 where Kinetix can't be used."""
    os.environ.setdefault("WANDB_MODE", "disabled")  # Kinetix imports it to load a level
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # XLA calls its own preferences machine features that a kept program may miss here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)  # what profilers it could have
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    # Not the folder itself: its modules' names are common ones.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    try:
        from engine import wire
    except ImportError as error:  # nothing can be sent without it
        print(f"{sys.executable} can't import {error.name}: {error}", file=sys.stderr)
        return 2
    speak = wire.own_stdout()
    try:
        from engine import run
    except ImportError as error:
        wire.send(speak, {"error": f"{sys.executable} can't import {error.name}: {error}"})
        return 2
    return run.main(sys.argv[1:], speak)


if __name__ == "__main__":
    sys.exit(main())
