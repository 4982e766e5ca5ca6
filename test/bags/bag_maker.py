"""Writes a RunLog as a bag, message by message as the nodes publish it."""

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from rtc_ros.bags.columns import PREFIX
from rtc_ros.bags.message_types import standard_types
from rtc_ros.core.continuity.run_log import Provenance, RunLog, SwapEvent

STORE = standard_types()
TYPES = STORE.types


def header(stamp_ns: int, frame: str = ""):
    time = TYPES["builtin_interfaces/msg/Time"](*divmod(int(stamp_ns), 10**9))
    return TYPES["std_msgs/msg/Header"](time, frame)


def joint_state(stamp_ns, names, position, velocity=(), frame=""):
    values = [np.asarray(v, dtype=np.float64) for v in (position, velocity, ())]
    return TYPES["sensor_msgs/msg/JointState"](header(stamp_ns, frame), list(names), *values)


def messages_of(run: RunLog, space: str = ""):
    """Yield (topic, time [ns], message) in the order of time."""
    log, origin = run.commands, run.commands.provenance
    by_step = {} if run.swaps is None else {s.step: s for s in run.swaps}
    by_origin: dict[int, list] = {}
    for chunk in run.chunks or ():
        by_origin.setdefault(chunk.origin_step, []).append(chunk)
    fields = [] if origin is None else [PREFIX + n for n in Provenance.names()]
    for k, stamp in enumerate(log.stamp_ns.tolist()):
        position, velocity = log.command[k], ()
        if origin is not None:
            source = [float(getattr(origin, n)[k]) for n in Provenance.names()]
            position = [*log.command[k], *source]
            velocity = [] if log.wanted is None else [*log.wanted[k], *[0.0] * len(source)]
        reason = log.reasons[log.reason[k]] if log.reasons else ""
        if origin is not None:
            for chunk in by_origin.pop(int(origin.step[k]), ()):
                yield f"{space}/rtc_inference/chunk", stamp, chunk_message(chunk, log, stamp)
            event = by_step.pop(int(origin.step[k]), None) if origin.row[k] >= 0 else None
            if event is not None:
                yield f"{space}/rtc_controller/swap", stamp, swap_message(event)
        yield (
            f"{space}/rtc_controller/executed",
            stamp,
            joint_state(stamp, [*log.joints, *fields], position, velocity, reason),
        )
        if run.measured is not None:
            pose = run.measured.position[k]
            yield f"{space}/joint_states", stamp, joint_state(stamp, log.joints, pose)


def chunk_message(chunk, log, stamp):
    frame = (
        f"epoch={chunk.epoch} seq={chunk.seq} origin_step={chunk.origin_step} "
        f"step_epoch={chunk.step_epoch} rows={chunk.rows} delay={chunk.delay} "
        f"stride={chunk.stride} guided={int(chunk.guided)} latency_ms=100.0"
    )
    none = np.zeros(0)
    duration = TYPES["builtin_interfaces/msg/Duration"](0, 0)
    point = TYPES["trajectory_msgs/msg/JointTrajectoryPoint"]
    points = [point(np.array(row), none, none, none, duration) for row in chunk.actions]
    return TYPES["trajectory_msgs/msg/JointTrajectory"](
        header(stamp, frame), list(log.joints), points
    )


def swap_message(event: SwapEvent):
    pair = TYPES["diagnostic_msgs/msg/KeyValue"]
    values = [pair(n, str(int(getattr(event, n)))) for n in SwapEvent.__dataclass_fields__]
    return TYPES["diagnostic_msgs/msg/DiagnosticStatus"](0, "swap", "", "", values)


def write_bag(path: Path, messages, *, sqlite: bool = False, compress: str = "") -> Path:
    """Write (topic, time, message) triples to the folder ``path``; return it."""
    plugin = StoragePlugin.SQLITE3 if sqlite else StoragePlugin.MCAP
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compress:
        writer.set_compression(CompressionMode[compress], CompressionFormat.ZSTD)
    connections = {}
    with writer:
        for topic, time_ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], time_ns, STORE.serialize_cdr(message, kind))
    return path
