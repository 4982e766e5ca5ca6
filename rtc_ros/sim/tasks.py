"""The sentences that the shipped policy knows, and a rule for saying each in its turn."""

from __future__ import annotations

from collections.abc import Mapping

PASS = "pass the cube to the left hand"
PUT_BACK = "put the cube back on the right"
TASKS = (PASS, PUT_BACK)

REST_S = 2.0
"""How long the arms have for going home with a passed cube, before it is to be put back."""
_AWAY_S = 1.0
"""How long the hand has for leaving a cube that it put down, before it is to be passed again."""


class Turns:
    """Says what to do next: pass the cube, put it back, pass it again, as each is done.

    It listens to the driver's ``~/task_state``; its time is the simulated one. ``sentence`` is the
    one to say now. A new cube on the table is to be passed, whatever became of the old one.
    """

    def __init__(self) -> None:
        self.sentence = PASS
        self._cube: str | None = None
        self._since_s: float | None = None

    def hear(self, state: Mapping[str, str]) -> bool:
        """Take one task state (key → value); return whether the sentence changed.

        Raises:
            KeyError, ValueError: it isn't a task state.
        """
        now_s, cube = float(state["simulated_s"]), state["episode"]
        before = self.sentence
        if cube != self._cube:
            self._cube, self._since_s, self.sentence = cube, None, PASS
        passing = self.sentence == PASS
        if state["done" if passing else "lies"] != "true":
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s >= (REST_S if passing else _AWAY_S):
            self._since_s, self.sentence = None, PUT_BACK if passing else PASS
        return self.sentence != before
