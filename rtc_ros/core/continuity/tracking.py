"""How far the measured pose was from the command, joint by joint."""

from __future__ import annotations

import numpy as np

from rtc_ros.core.continuity.run_log import CommandLog, JointLog

MAX_RAD = 1e6
"""No joint is that far off; a value beyond is damage to the recording."""


class TrackingSum:
    """Sums the squared differences of A joints at the commands' times."""

    def __init__(self, action_dim: int) -> None:
        self._squares = np.zeros(action_dim)
        self._counts = np.zeros(action_dim, dtype=np.int64)

    def add(self, log: CommandLog, rows: slice, measured: JointLog | None) -> None:
        """Take the commands ``rows``; ``measured`` covers their time."""
        if measured is None or len(measured.stamp_ns) < 2:
            return
        order = np.argsort(measured.stamp_ns, kind="stable")
        seen = measured.stamp_ns[order]
        stamps, command = log.stamp_ns[rows], log.command[rows]
        inside = (stamps >= seen[0]) & (stamps <= seen[-1]) & np.isfinite(command).all(axis=1)
        # Relative times: nanoseconds since 1970 don't fit the float64 that interp works in.
        at, times = ((t - seen[0]).astype(np.float64) for t in (stamps[inside], seen))
        for joint in range(command.shape[1]):
            pose = np.interp(at, times, measured.position[order, joint])
            error = pose - command[inside, joint]
            good = error[np.abs(error) < MAX_RAD]
            self._squares[joint] += (good**2).sum()
            self._counts[joint] += len(good)

    def rms(self) -> list[float | None]:
        """Return per joint the RMS [rad], None where nothing was measured."""
        pairs = zip(self._squares.tolist(), self._counts.tolist(), strict=True)
        return [float(np.sqrt(total / count)) if count else None for total, count in pairs]
