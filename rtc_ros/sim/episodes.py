"""When the driver starts a new episode by itself: a rule over time, without ROS or physics."""

from __future__ import annotations

from rtc_ros.sim.robot import CUBE_REGION_M, TaskState

_REACH_MARGIN_M = 0.03


def out_of_play(state: TaskState) -> bool:
    """Tell whether the cube was passed, or lies where the right hand doesn't look for it."""
    if state.done:
        return True
    inside = all(
        low - _REACH_MARGIN_M <= value <= high + _REACH_MARGIN_M
        for value, (low, high) in zip(state.cube_m, CUBE_REGION_M, strict=False)
    )
    return state.holder == "none" and not inside


class EpisodeRule:
    """Says when to reset the scene and when to lay a new cube.

    ``length_s``: an episode is over after so long; 0 means never. ``new_cube_after_s``: a new
    cube is laid when the old one has been out of play for so long; 0 means never. It counts
    ``passes`` and ``put_backs``; a cube that was put back can be passed again.
    """

    def __init__(self, length_s: float = 0.0, new_cube_after_s: float = 0.0) -> None:
        self._length_s, self._new_cube_after_s = length_s, new_cube_after_s
        self._start_s: float | None = None
        self._out_since_s: float | None = None
        self._counted = False
        self.passes = self.put_backs = 0
        self.episodes = 1

    def restart(self, now_s: float) -> None:
        """Begin an episode at ``now_s``: the scene was reset or a new cube was laid."""
        self._start_s, self._out_since_s, self._counted = now_s, None, False
        self.episodes += 1

    def due(self, now_s: float, state: TaskState) -> str:
        """Return "reset", "new_cube" or "" for the time ``now_s`` [s], counting."""
        if self._start_s is None:
            self._start_s = now_s
        if state.done and not self._counted:
            self.passes, self._counted = self.passes + 1, True
        elif state.lies and self._counted:
            self.put_backs, self._counted = self.put_backs + 1, False
        if not out_of_play(state):
            self._out_since_s = None
        elif self._out_since_s is None:
            self._out_since_s = now_s
        if self._length_s > 0.0 and now_s - self._start_s >= self._length_s:
            return "reset"
        waited = 0.0 if self._out_since_s is None else now_s - self._out_since_s
        if self._out_since_s is not None and 0.0 < self._new_cube_after_s <= waited:
            return "new_cube"
        return ""
