from __future__ import annotations

import pytest

from rtc_ros.sim.tasks import PASS, PUT_BACK, REST_S, Turns


def state(time_s: float, *, done: bool = False, lies: bool = False, episode: int = 1) -> dict:
    return {
        "simulated_s": f"{time_s:.2f}",
        "episode": str(episode),
        "done": str(done).lower(),
        "lies": str(lies).lower(),
    }


def test_it_begins_with_passing_and_says_so_while_nothing_is_done() -> None:
    turns = Turns()
    assert turns.sentence == PASS
    assert not any(turns.hear(state(0.1 * n, lies=True)) for n in range(100))
    assert turns.sentence == PASS


def test_passing_and_putting_back_take_turns_each_after_a_rest() -> None:
    turns, said = Turns(), []
    cube = [
        *(state(t, done=True) for t in (5.0, 6.0, 5.0 + REST_S)),
        *(state(t) for t in (8.0, 9.0)),
        *(state(t, lies=True) for t in (10.0, 10.5, 11.0)),
        *(state(t, done=True) for t in (16.0, 16.0 + REST_S)),
    ]
    for heard in cube:
        if turns.hear(heard):
            said.append((float(heard["simulated_s"]), turns.sentence))
    assert said == [(5.0 + REST_S, PUT_BACK), (11.0, PASS), (16.0 + REST_S, PUT_BACK)]


def test_a_cube_that_slips_begins_the_rest_anew() -> None:
    turns = Turns()
    for t in (5.0, 6.5):
        turns.hear(state(t, done=True))
    turns.hear(state(6.6))
    assert not turns.hear(state(7.5, done=True))
    assert turns.hear(state(7.5 + REST_S, done=True))


def test_a_new_cube_is_to_be_passed() -> None:
    turns = Turns()
    for t in (5.0, 8.0):
        turns.hear(state(t, done=True))
    assert turns.sentence == PUT_BACK
    assert turns.hear(state(9.0, lies=True, episode=2)) and turns.sentence == PASS


def test_what_is_no_task_state_is_refused() -> None:
    with pytest.raises(KeyError):
        Turns().hear({"done": "true"})
