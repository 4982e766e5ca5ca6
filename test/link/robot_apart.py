"""A robot of its own process: its nodes, its arm, its judge, and its inference elsewhere.

Fast DDS looks up a process's addresses once, so a process can be on one machine only.

    python robot_apart.py NAME FOLDER ROBOT_NAMESPACE_FILE GPU_NAMESPACE_FILE

says "moving"; a line on standard input later it says in JSON what the robot did meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

for folder_name in ("link", "faults", "nodes", "."):
    sys.path.append(str(Path(__file__).parents[1] / folder_name))


class Places:
    """Where the machines are, for a LinkSystem; the network is somebody else's."""

    def __init__(self, **paths: str) -> None:
        self._paths = paths

    def path(self, machine: str) -> str:
        return self._paths[machine]


def main() -> int:
    from link_system import LinkSystem

    name, folder, robot, gpu = sys.argv[1:]
    system = LinkSystem(Places(robot=robot, gpu=gpu), Path(folder), namespace=name)
    try:
        system.up()
        begun = time.time_ns()
        print("moving", flush=True)
        sys.stdin.readline()
        ticks = system.watcher.since(begun)
        system.check()
        refused = [text for _, entry, text in system.said if "of robot" in text]
        print(json.dumps({
            "ticks": len(ticks),
            "executed": sum(tick.executes for tick in ticks),
            "ran": sorted({tick.chunk_epoch for tick in ticks if tick.executes}),
            "published": sorted({epoch for epoch, _ in list(system.watcher.chunks)}),
            "refused": refused,
        }), flush=True)  # fmt: skip
    finally:
        system.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
