"""Runs a module of this package as a process: ``python …/child.py MODULE [ARGUMENT …]``.

``python -m`` looks into the working folder first. Where that contains a clone named rtc_ros, the
clone's root passes for the package and hides the installed one. Python 3.11's ``-P`` would keep
the folder out; this does so with 3.10, too, and runs the very package that started the process.
"""

from __future__ import annotations

import os
import sys


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``module`` (a name in ``rtc_ros``) as ``__main__``."""
    return [sys.executable, os.path.abspath(__file__), module, *arguments]


def _run(module: str) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Python put this file's folder first, unless PYTHONSAFEPATH is set.
    sys.path[:] = [os.path.dirname(os.path.dirname(here)), *(p for p in sys.path if p != here)]
    import rtc_ros  # noqa: F401 - its submodules are found beside it from now on

    del sys.path[0]
    import runpy

    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run(sys.argv.pop(1))
