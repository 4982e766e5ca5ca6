"""The machine: real-time rights, room in shared memory, and who writes the segments already."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator

from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.errors import AccessError, HandoffError
from rtc_ros.handoff.files import DIRECTORY_VARIABLE, access_error, segment_path
from rtc_ros.handoff.layout import HEADER_BYTES
from rtc_ros.handoff.records import CURSOR, RING
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.handoff.spec import HandoffSpec
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.setup import Setup
from rtc_ros.running.entry import ask_for_realtime

_SLOTS = 16
"""At least as many as the nodes' segments have."""


def check_realtime(setup: Setup) -> Iterator[Finding]:
    """Check that the tick may run under SCHED_FIFO, in a thread that ends at once."""
    priority, subject = setup.controller["realtime_priority"], "real-time rights"
    if not priority:
        yield doubt(
            subject,
            "realtime_priority is 0: the tick is late when the machine is busy",
            "realtime_priority: 50",
        )
        return
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(ask_for_realtime(priority)))
    thread.start()
    thread.join()
    refused = answers[0]
    if refused:
        what, _, fix = refused.partition(": ")
        yield doubt(subject, f"{what}: the tick is late when the machine is busy", fix)
    else:
        yield good(subject, f"SCHED_FIFO {priority} is granted")


def check_shared_memory(setup: Setup, horizon: int) -> Iterator[Finding]:
    """Check that there is room for both segments in a directory that we may write."""
    path = segment_path(f"{setup.handoff_base}.ring")
    directory, subject = os.path.dirname(path), "shared memory"
    spec = HandoffSpec(setup.joints, setup.period_s, max(1, horizon))
    slots = (record.slot(spec).itemsize for record in (RING, CURSOR))
    needed = 2 * HEADER_BYTES + _SLOTS * sum(slots)
    try:
        info = os.statvfs(directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        yield bad(subject, str(access_error(error, path, "make a segment")), "see there")
        return
    free = info.f_bavail * info.f_frsize
    if free < needed:
        yield bad(
            subject,
            f"{directory} has {free} bytes free, and the segments need {needed}",
            f"make room (in a container: --shm-size), or set {DIRECTORY_VARIABLE}",
        )
    else:
        yield good(subject, f"{free / 2**20:.0f} MiB free in {directory}, {needed} bytes needed")


def check_segments(setup: Setup) -> Iterator[Finding]:
    """Check who writes the segments already, and that what is left over is ours."""
    for name, kind in (("cursor", StepCursor), ("ring", ChunkRing)):
        path = segment_path(f"{setup.handoff_base}.{name}")
        subject = f"segment {os.path.basename(path)}"
        holder = _holder(path)
        if holder:
            node = "rtc_controller" if name == "cursor" else "rtc_inference"
            yield doubt(
                subject,
                f"process {holder} writes {path}",
                f"right if it is the {node} that runs for this robot; otherwise stop it, or give "
                "this robot another handoff_name",
            )
            continue
        try:
            left = kind.attach_or_none(  # type: ignore[attr-defined]
                f"{setup.handoff_base}.{name}", HandoffSpec(setup.joints, setup.period_s)
            )
        except AccessError as error:
            yield bad(subject, str(error), "remove it as its owner, or another handoff_name")
            continue
        except HandoffError:
            # What differs is of no matter: nobody writes it.
            yield good(subject, "left by an earlier run with other settings: the node replaces it")
            continue
        except OSError as error:
            yield doubt(subject, f"what an earlier run left can't be read: {error}", "remove it")
            continue
        if left is None:
            yield good(subject, "there is none yet")
        else:
            yield good(subject, f"left by process {left.writer_pid}, which is gone")
            left.close()


def _holder(path: str) -> str:
    """Return the process that holds the writer's lock, "" where none does."""
    try:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 20, 0).strip().decode("ascii", "replace") or "unknown"
    finally:
        os.close(fd)
    return ""
