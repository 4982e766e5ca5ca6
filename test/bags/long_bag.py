"""Writes a bag of any length, as the recorder would: python3 test/bags/long_bag.py STEPS FOLDER.

One example run is repeated with its stamps, steps, ticks and chunk numbers counted on; joint
states come at 100 Hz. For measuring how long a report takes, and how much memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from bag_maker import STORE, TYPES, messages_of

from rtc_ros.bags.writer import BagWriter
from rtc_ros.report.example_run import PERIOD_S, ExampleSettings, example_run

TICKS = 2000
QUEUED_BYTES = 50 * 2**20


def repeated(times: int) -> Iterator[tuple[str, int, Any]]:
    """Yield topic, time [ns] and message of a run ``times`` as long as the example's."""
    run = example_run(ExampleSettings(ticks=TICKS))
    messages = list(messages_of(run))
    steps = int(run.commands.provenance.step[-1]) + 1
    on = {"step": steps, "origin_step": steps, "tick": TICKS}
    on |= dict.fromkeys(("seq", "chunk_seq", "previous_seq"), len(run.chunks))
    period_ns = round(TICKS * PERIOD_S * 1e9)
    for number in range(times):
        for topic, time_ns, message in messages:
            at = time_ns + number * period_ns
            yield topic, at, counted_on(message, at, {k: n * number for k, n in on.items()})
            if topic.endswith("joint_states"):
                yield topic, at + round(PERIOD_S * 5e8), message


def counted_on(message: Any, at: int, on: dict[str, int]) -> Any:
    """Return ``message`` with the time ``at`` and its counts larger by ``on``."""
    if hasattr(message, "values"):
        pair = TYPES["diagnostic_msgs/msg/KeyValue"]
        values = [
            pair(v.key, v.value if v.value == "-1" else str(int(v.value) + on.get(v.key, 0)))
            for v in message.values
        ]
        return type(message)(message.level, message.name, "", "", values)
    words = dict(w.split("=") for w in message.header.frame_id.split() if "=" in w)
    words = {k: str(int(v) + on[k]) if k in on else v for k, v in words.items()}
    frame = " ".join(f"{k}={v}" for k, v in words.items()) or message.header.frame_id
    stamp = TYPES["builtin_interfaces/msg/Time"](*divmod(at, 10**9))
    header = TYPES["std_msgs/msg/Header"](stamp, frame)
    if hasattr(message, "points"):
        return type(message)(header, message.joint_names, message.points)
    position = message.position.copy()
    for i, name in enumerate(message.name):
        if position[i] >= 0:
            position[i] += on.get(name.removeprefix("rtc/"), 0) if "/" in name else 0
    return type(message)(header, message.name, position, message.velocity, message.effort)


def main() -> None:
    """Write the bag."""
    steps, folder = int(sys.argv[1]), sys.argv[2]
    writer = BagWriter(folder)
    for topic, at, message in repeated(max(1, steps // TICKS)):
        kind = message.__msgtype__
        writer.add_topic(topic, kind)
        while writer._queued > QUEUED_BYTES:
            time.sleep(0.02)
        writer.put(topic, at, bytes(STORE.serialize_cdr(message, kind)))
    writer.close()
    print(dict(writer.counts))


if __name__ == "__main__":
    main()
