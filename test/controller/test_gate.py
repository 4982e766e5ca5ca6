"""Who may open the gate when, with a fake node, fake drivers and the real controller."""

import threading

import numpy as np
import pytest
from std_srvs.srv import Trigger

from rtc_ros.controller.gate import Gate
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, Inputs
from rtc_ros.core.cursor import Mode
from rtc_ros.core.frozen import changed
from rtc_ros.core.guards import Arm, Guards
from rtc_ros.core.limits import JointLimits
from rtc_ros.handoff.errors import AccessError

DT, A = 0.02, 2
LIMITS = JointLimits.from_velocity([-9.0] * A, [9.0] * A, [1.0] * A, DT, [4.0] * A)


class Log:
    def __init__(self):
        self.lines = []

    def info(self, line):
        self.lines.append(line)

    warning = error = info


class Timer:
    def __init__(self, act):
        self.act, self.runs = act, True

    def reset(self):
        self.runs = True

    def cancel(self):
        self.runs = False


class Node:
    def __init__(self):
        self.log, self.services, self.timer = Log(), {}, None

    def get_logger(self):
        return self.log

    def create_service(self, _, name, act):
        self.services[name.removeprefix("~/")] = act

    def create_timer(self, _, act, clock):
        self.timer = Timer(act)
        return self.timer


class Latch:
    def __init__(self, fails=False):
        self.there, self.fails = False, fails

    def _set(self, there):
        if self.fails:
            raise AccessError("/dev/shm/x.latch can't be written")
        self.there = there

    def write(self):
        self._set(True)

    def remove(self):
        self._set(False)


class Driver:
    playing = comes = False


class Bench:
    def __init__(self, latch=None, problem="", **options):
        self.node, self.latch, self.driver = Node(), latch or Latch(), Driver()
        default = np.full(A, 0.3)
        self.controller = Controller(LIMITS, 0, Guards(("a", "b"), LIMITS, default, default, DT))
        self.pose, self.problem, self.obstacle = np.zeros(A), problem, ""
        self.hold = ""
        self.now_ns = 10**9
        self.gate = Gate(
            self.node, self.controller, threading.Lock(), [self.driver],
            pose=self.arm, obstacle=lambda: self.obstacle, epoch=7, latch=self.latch, **options,
        )  # fmt: skip
        self.ticks(7)

    def arm(self):
        return Arm(self.pose, np.full(A, self.now_ns), self.problem)

    def ticks(self, count=1, missed=0):
        for _ in range(count):
            self.now_ns += round((1 + missed) * DT * 1e9)
            command = self.controller.tick(Inputs(arm=self.arm(), hold=self.hold))
            self.gate.after_tick(command.reason if command else "", missed)
            if self.node.timer.runs:
                self.node.timer.act()
            if self.controller.state.target is not None:
                self.pose = self.controller.state.target

    def call(self, name):
        answer = self.node.services[name](Trigger.Request(), Trigger.Response())
        return answer.success, answer.message

    def move(self):
        if self.mode is Mode.STOPPED:
            assert self.call("start") == (True, "started")
        chunk = ActionChunk(np.arange(1, 61)[:, None] * 0.015 * np.ones(A), 0, self.epoch)
        self.controller.offer(chunk)
        self.ticks(12)
        assert self.mode is Mode.RUNNING

    @property
    def mode(self):
        return self.controller.state.mode

    @property
    def epoch(self):
        return self.controller.state.player.epoch


def test_each_start_begins_a_later_run_at_the_measured_pose():
    bench = Bench()
    bench.pose = np.array([0.3, -0.2])
    bench.ticks(7)
    bench.move()
    first = bench.epoch
    assert first > 7
    success, said = bench.call("start")
    assert not success and said == "already started (the controller is RUNNING)"
    assert bench.call("stop") == (True, "stopped after 12 steps; braking to rest")
    assert bench.call("start") == (
        False, "the arm is still being braked to rest: call ~/start again in a moment"
    )  # fmt: skip
    bench.ticks(20)
    assert bench.call("stop")[1] == "stopped after 12 steps; holding"
    assert bench.call("start")[0] and bench.epoch > first
    np.testing.assert_array_equal(bench.controller.cursor(0).command, bench.pose)


@pytest.mark.parametrize(
    ("set_up", "said"),
    [
        ({"problem": "no joint state yet for a"}, "no joint state yet for a"),
        ({"obstacle": "/teleop publishes on /arm too: stop it first"}, "/teleop publishes on"),
    ],
)
def test_what_keeps_it_closed_is_said(set_up, said):
    bench = Bench()
    vars(bench).update(set_up)
    success, message = bench.call("start")
    assert not success and said in message and bench.mode is Mode.STOPPED


def test_an_arm_that_moves_keeps_it_closed():
    bench = Bench()
    for _ in range(10):
        bench.pose = bench.pose + [0.0, 0.008]
        bench.ticks()
    assert "b still moves: 0.04 in the last 0.1 s" in bench.call("start")[1]
    bench.ticks(7)
    assert bench.call("start")[0]


def test_a_driver_that_plays_a_chunk_is_no_arm_at_rest():
    bench = Bench()
    bench.driver.playing = True
    assert "still being braked" in bench.call("start")[1]


def test_a_latched_stop_is_lifted_by_clear_alone_and_remembered():
    bench = Bench(when_ready=True)
    bench.move()
    success, said = bench.call("latch_stop")
    assert success and said.endswith("; latched: only ~/clear lets ~/start work again")
    assert bench.latch.there and not bench.gate.when_ready
    bench.ticks(20)
    for name in ("start", "reset"):
        assert bench.call(name) == (
            False, "the stop is latched: call ~/clear when it is safe to move, then ~/start"
        )  # fmt: skip
    assert bench.call("stop")[1].endswith("the stop stays latched")
    assert bench.call("clear") == (True, "cleared; the gate is closed: call ~/start")
    assert not bench.latch.there and bench.mode is Mode.STOPPED
    assert bench.call("clear")[1] == "nothing was latched"


def test_a_latch_that_cant_be_kept_or_removed_is_said():
    bench = Bench(Latch(fails=True))
    success, said = bench.call("latch_stop")
    assert success and "won't know of it: /dev/shm/x.latch" in said
    success, said = bench.call("clear")
    assert not success and said == "the stop stays latched: /dev/shm/x.latch can't be written"
    assert bench.mode is Mode.LATCHED


def test_a_reset_brakes_then_goes_on_by_itself():
    bench = Bench()
    assert bench.call("reset") == (True, "reset; stopped")
    bench.move()
    first = bench.epoch
    for _ in range(2):
        assert bench.call("reset") == (True, "the arm is braked to rest, then started again")
    bench.ticks(40)
    assert bench.mode is Mode.WAITING and bench.epoch > first


def test_a_reset_waits_no_longer_for_an_arm_that_is_not_seen_at_rest(monkeypatch):
    bench, now = Bench(), [100.0]
    monkeypatch.setattr("rtc_ros.controller.gate.time.monotonic", lambda: now[0])
    bench.move()
    assert bench.call("reset")[0]
    bench.problem = "the joint state of a is 0.50 s old"
    bench.ticks(40)
    now[0] += 1.1
    bench.ticks(1)
    assert "reset: not started again: the joint state of a" in bench.node.log.lines[-1]
    bench.problem = ""
    bench.ticks(20)
    assert bench.mode is Mode.STOPPED


@pytest.mark.parametrize("moving", [True, False], ids=["moving", "waiting"])
@pytest.mark.parametrize(
    "obstacle", ["/teleop publishes on /arm too: stop it first", "nobody listens on /arm"]
)
def test_a_reset_asks_what_start_asks(obstacle, moving):
    bench = Bench()
    bench.move() if moving else bench.call("start")
    bench.obstacle = obstacle
    success, said = bench.call("reset")
    assert not success and said.startswith("stopped after ")
    assert said.endswith(f"; not started again: {obstacle}")
    bench.obstacle = ""
    bench.ticks(60)
    assert bench.mode is Mode.STOPPED, "what it was told stays true"


def test_a_reset_asks_again_once_the_arm_rests():
    bench = Bench()
    bench.move()
    assert bench.call("reset")[0]
    bench.ticks(1)
    bench.obstacle = "/teleop publishes on /arm too: stop it first"
    bench.ticks(60)
    assert bench.mode is Mode.STOPPED
    assert bench.node.log.lines[-1] == f"reset: not started again: {bench.obstacle}"


def test_a_stop_ends_what_a_reset_began():
    bench = Bench()
    bench.move()
    bench.call("reset")
    bench.call("stop")
    bench.ticks(60)
    assert bench.mode is Mode.STOPPED and not bench.node.timer.runs


def test_nothing_looks_whether_it_may_open_while_nobody_asked_for_that():
    bench = Bench()
    bench.ticks(1)
    assert not bench.node.timer.runs
    bench.move()
    bench.call("reset")
    assert bench.node.timer.runs


@pytest.mark.parametrize("held", [0, 10, 25])
def test_a_gate_that_waits_too_long_for_its_first_chunk_closes_itself(held):
    """Whatever holds it meanwhile: a fault that passes later would move a surprised arm."""
    bench = Bench(first_chunk_ticks=25)
    assert bench.call("start")[0]
    bench.problem = "the joint state of a is 0.50 s old" if held else ""
    bench.ticks(held)
    bench.problem = bench.problem if held == 25 else ""
    bench.ticks(24 - held)
    assert not bench.controller.state.stopped or held == 25
    bench.ticks(1)
    assert bench.mode is Mode.STOPPED
    said = bench.controller.state.problem
    assert said.startswith("no chunk came for 25 steps after ~/start")
    assert ("a is 0.50 s old" in said) == (held == 25) and said.endswith("; call ~/start")
    bench.problem = ""
    bench.ticks(7)
    assert bench.call("start")[0], "and counts anew"
    bench.ticks(20)
    assert bench.mode is Mode.WAITING


def test_a_chunk_that_a_fault_holds_back_begins_no_motion_later():
    bench = Bench(first_chunk_ticks=25)
    assert bench.call("start")[0]
    bench.problem = "the joint state of a is 0.50 s old"
    bench.ticks(2)
    bench.controller.offer(ActionChunk(np.ones((60, A)), 0, bench.epoch))
    bench.ticks(23)
    assert bench.controller.state.problem.startswith("no motion began for 25 steps after ~/start")
    bench.problem = ""
    bench.ticks(20)
    assert bench.mode is Mode.STOPPED and bench.controller.state.target is None


def starved(bench):
    """Let it run through its chunk, brake and starve."""
    bench.move()
    while bench.mode is Mode.RUNNING:
        bench.ticks(1)
    assert bench.mode is Mode.STARVED
    return bench


GONE = "process 123, which wrote /dev/shm/r (rtc_inference), is gone"


def chunk_from_here(bench):
    state = bench.controller.state
    return ActionChunk(np.tile(state.target, (60, 1)), state.player.step, bench.epoch, seq=2)


@pytest.mark.parametrize("faulty", [False, True])
def test_a_gate_that_starves_too_long_closes_itself_and_only_start_goes_on(faulty):
    """rtc_inference was killed and came back 47 s later: the arms went on without a call."""
    bench = starved(Bench(hold_ticks=25, missing=lambda: GONE))
    if faulty:  # that the joint states went, too, makes a late motion no less of a surprise
        bench.problem = "the joint state of a is 0.50 s old"
    bench.ticks(22)
    assert not bench.controller.state.stopped
    bench.ticks(3)
    assert bench.mode is Mode.STOPPED
    said = bench.controller.state.problem
    assert said.startswith("starved, and no chunk came for 25 steps (hold_timeout)"), said
    assert GONE in said and said.endswith("; call ~/start")
    assert ("a is 0.50 s old" in said) == faulty
    bench.problem = ""
    bench.controller.offer(chunk_from_here(bench))
    bench.ticks(20)
    assert bench.mode is Mode.STOPPED
    assert bench.call("start")[0]
    bench.ticks(20)
    assert bench.mode is Mode.WAITING, "and counts anew"


@pytest.mark.parametrize("fault", [True, False], ids=["a fault", "a driver that isn't heard of"])
def test_a_hold_that_lasts_too_long_closes_the_gate_though_rows_are_left(fault):
    """Joint states came back an hour later, and the arm went on along an old chunk, uncalled."""
    bench = Bench(hold_ticks=25)
    bench.move()
    why = "the joint state of a is 0.50 s old" if fault else "until a is heard of"
    bench.problem, bench.hold = (why, "") if fault else ("", why)
    bench.ticks(24)
    assert not bench.controller.state.stopped and not bench.controller.state.starved
    bench.ticks(1)
    assert bench.mode is Mode.STOPPED
    said = bench.controller.state.problem
    assert said == f"held for 25 steps (hold_timeout): {why}; call ~/start"
    bench.problem = bench.hold = ""
    at = bench.controller.state.player.step
    bench.ticks(20)
    assert bench.mode is Mode.STOPPED and bench.controller.state.player.step == at
    assert bench.call("start")[0]


@pytest.mark.parametrize("begun", [True, False], ids=["after a hold", "after start"])
def test_a_driver_on_its_way_to_where_motion_begins_is_not_cut_off(begun):
    """The gate closed beside it, and the arm went on for ten seconds, with the gate closed."""
    bench = Bench(first_chunk_ticks=25, hold_ticks=25)
    bench.move() if begun else bench.call("start")
    bench.hold = "until the driver has come to where motion begins"
    bench.ticks(20)
    bench.driver.comes = True
    bench.ticks(100)
    assert not bench.controller.state.stopped
    bench.driver.comes = False
    bench.ticks(4)
    assert not bench.controller.state.stopped, "its way isn't counted, what was before it is"
    bench.ticks(1)
    assert bench.mode is Mode.STOPPED


def test_a_driver_that_is_sent_again_and_again_does_not_keep_the_gate_open():
    bench = Bench(first_chunk_ticks=25)
    bench.call("start")
    for _ in range(5):
        assert not bench.controller.state.stopped
        bench.driver.comes = False
        bench.ticks(5)
        bench.driver.comes = True
        bench.ticks(10)
    assert bench.mode is Mode.STOPPED


@pytest.mark.parametrize("moving", [True, False], ids=["in motion", "while held"])
@pytest.mark.parametrize("missed", [20, 30])
def test_time_in_which_the_process_stood_still_is_a_hold(moving, missed):
    """It was stopped for an hour, and moved when it went on, uncalled."""
    bench = Bench(hold_ticks=25)
    bench.move()
    bench.hold = "" if moving else "until the joint state of a is heard of"
    bench.ticks(2)
    bench.ticks(1, missed)
    closes = missed + 1 - moving + 2 * (not moving) >= 25
    assert bench.controller.state.stopped == closes
    said = bench.controller.state.problem
    assert closes == said.startswith("held for 25 steps (hold_timeout): "), said
    assert not (moving and closes) or "this process stood still" in said
    bench.hold = ""
    bench.ticks(10)
    assert bench.controller.state.stopped == closes


def test_what_was_missed_before_a_start_is_not_the_new_run_s():
    bench = Bench(first_chunk_ticks=25)
    assert bench.call("start")[0]
    bench.ticks(1, missed=30)
    bench.ticks(20)
    assert bench.mode is Mode.WAITING
    bench.ticks(1, missed=30)
    assert bench.mode is Mode.STOPPED


def test_a_stall_in_which_the_driver_goes_on_along_its_chunk_is_no_hold():
    bench = Bench(hold_ticks=25)
    bench.move()
    bench.driver.playing = True
    player = bench.controller.state.player
    bench.gate.after_tick("", 40)  # nobody looked at the arm yet
    ahead = changed(bench.controller.state, player=changed(player, step=player.step + 41))
    bench.controller.state = ahead
    bench.gate.after_tick("", 0)
    assert bench.mode is Mode.RUNNING
    bench.gate.after_tick("", 40)
    ahead = changed(ahead, player=changed(ahead.player, step=ahead.player.step + 7))
    bench.controller.state = ahead
    bench.gate.after_tick("", 0)
    assert bench.mode is Mode.STOPPED, "its chunk was at its end long before"


@pytest.mark.parametrize("held", [20, 200])
def test_a_hold_that_ends_in_time_goes_on_by_itself(held):
    bench = Bench(hold_ticks=25 if held == 20 else 0)
    bench.move()
    at = bench.controller.state.player.step
    for _ in range(2):
        bench.problem = "the joint state of a is 0.50 s old"
        bench.ticks(held)
        bench.problem = ""
        bench.ticks(10)
        assert bench.mode is Mode.RUNNING, "each hold counts by itself"
    assert bench.controller.state.player.step > at + 10


@pytest.mark.parametrize("ticks", [25, 0], ids=["in time", "never"])
def test_starvation_that_ends_in_time_goes_on_by_itself(ticks):
    bench = starved(Bench(hold_ticks=ticks))
    bench.ticks(20 if ticks else 200)
    assert bench.mode is Mode.STARVED
    bench.controller.offer(chunk_from_here(bench))
    bench.ticks(10)
    assert bench.mode is Mode.RUNNING
    bench.ticks(70)
    assert bench.mode is Mode.STARVED, "and counts anew"


def test_start_while_it_starves_says_who_makes_no_chunk():
    bench = Bench()
    bench.move()
    bench.obstacle = GONE
    assert bench.call("start")[1] == "already started (the controller is RUNNING)"
    success, said = starved(bench).call("start")
    assert not success
    assert said == f"already started (the controller is STARVED), but: {GONE}"
    bench.obstacle = ""
    assert bench.call("start")[1] == "already started (the controller is STARVED)"


def test_a_gate_that_got_a_chunk_or_has_no_timeout_stays_open():
    for bench in (Bench(first_chunk_ticks=25), Bench()):
        bench.move() if bench.gate._first_chunk_ticks else bench.call("start")
        bench.ticks(60)
        assert not bench.controller.state.stopped


def test_who_starts_by_hand_what_would_start_by_itself_has_started_it():
    bench = Bench(when_ready=True, problem="stale")
    bench.problem = ""
    bench.node.timer.runs = False
    bench.ticks(7)
    assert bench.call("start")[0]
    bench.controller.close("the arm was moved")
    bench.node.timer.runs = True
    bench.ticks(20)
    assert bench.mode is Mode.STOPPED


def test_when_ready_opens_once_and_a_guard_keeps_it_closed():
    bench = Bench(when_ready=True, problem="stale")
    assert bench.mode is Mode.STOPPED and bench.gate.when_ready
    bench.problem = ""
    bench.ticks(7)
    assert bench.mode is Mode.WAITING and not bench.gate.when_ready
    bench.gate.give_up("the arm was moved")
    bench.ticks(7)
    assert bench.mode is Mode.STOPPED and bench.controller.state.problem == "the arm was moved"
    assert bench.call("start")[0], "whoever calls it says that it is safe"


def test_a_dry_run_says_so_in_each_answer():
    bench = Bench(dry_run=True)
    for name in ("start", "stop", "reset", "latch_stop", "clear"):
        assert bench.call(name)[1].startswith("dry run: nothing is sent to any driver; ")


def test_a_closing_node_brakes_and_lets_nobody_in():
    bench = Bench()
    bench.move()
    closing = threading.Thread(target=bench.gate.close, args=(5.0,))
    closing.start()
    while closing.is_alive():
        bench.ticks()
    closing.join()
    assert bench.controller.settled and bench.mode is Mode.STOPPED
    assert bench.call("start") == (False, "the controller is ending")


def test_an_arm_that_is_never_at_rest_is_named_when_the_node_ends():
    bench = Bench()
    bench.driver.playing = True
    bench.gate.close(0.01)
    assert "the arm could not be braked to rest within 0.01 s" in bench.node.log.lines


def test_a_start_by_hand_after_a_reset_ends_what_the_reset_began():
    """Else the next guard that closes the gate is undone by it."""
    bench = Bench()
    bench.move()
    bench.call("reset")
    looks, bench.node.timer.act = bench.node.timer.act, lambda: None  # no look in between
    for _ in range(60):
        bench.ticks(1)
        if bench.call("start")[0]:
            break
    assert not bench.controller.state.stopped
    epoch = bench.epoch
    bench.node.timer.act = looks
    bench.controller.close("the arm was moved; call ~/start")
    for _ in range(200):
        bench.ticks(1)
        if bench.node.timer.runs:
            bench.node.timer.act()
    assert bench.controller.state.stopped and bench.epoch == epoch
