"""One tick with fake drivers and a clock of the test: who is sent what, and when it is redone."""

import numpy as np
import pytest

from rtc_ros.controller.command_output import PAST
from rtc_ros.controller.reports import motion_report
from rtc_ros.controller.tick import ControlTick
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, follow
from rtc_ros.core.cursor import Mode
from rtc_ros.core.frozen import changed
from rtc_ros.core.guards import Arm, Guards
from rtc_ros.core.limits import JointLimits

DT, A = 0.02, 2
V, ACC = 1.0, 8.0
LIMITS = JointLimits.from_velocity([-9.0] * A, [9.0] * A, [V] * A, DT, [ACC] * A)


class Driver:
    """A command group that notes what it is sent; ``on_prepare`` happens within a decision."""

    def __init__(self, columns, plays_chunks=False):
        self.columns, self.plays_chunks, self.playing = columns, plays_chunks, False
        self.comes = self.comes_to_begin = False
        self.sent, self.anew = [], False
        self._prepared = None
        self.on_prepare = lambda: None
        self.rests_at = None

    def coming_s(self, begin, arm=None):
        if self.playing or self.rests_at is None:
            return 0.0
        return 10 * np.abs(begin - self.rests_at)[self.columns].max()

    def prepare(self, command, way, stamp, late_s, anew=False, arm=None):
        self.on_prepare()
        self._prepared = None
        if not self.plays_chunks:
            if command is not None and command.sends:
                self._prepared = command.target[self.columns]
            return
        executes = command is not None and command.executes
        if anew or self.anew or executes != self.playing or (executes and command.played.swap):
            self._prepared, self._plays = way()[PAST:, self.columns], executes

    @property
    def bends(self):
        return self.plays_chunks and self._prepared is not None

    def forget(self):
        self.playing = self.anew = False
        self._prepared = None

    def halt(self, now_ns, arm=None):
        pass

    def send_anew(self):
        self.anew = self.plays_chunks

    def publish(self, now_ns):
        if self._prepared is not None:
            self.sent.append(self._prepared)
            if self.plays_chunks:
                self.playing, self.anew = self._plays, False
                self.rests_at = np.broadcast_to(self._prepared[-1][0], A)
        self._prepared = None


class Bench:
    """A tick whose deadlines pass when the test says so; the arm follows unless it is limp."""

    def __init__(self, *groups, resume=0.3, following=0.3):
        tolerances = (np.full(A, resume), np.full(A, following))
        self.controller = Controller(LIMITS, 0, Guards(("a", "b"), LIMITS, *tolerances, DT))
        self.groups = groups or (Driver([0, 1]),)
        self.lost, self.late_s, self.now_ns = [], 0.0, 10**9
        self.pose, self.problem, self.limp = np.zeros(A), "", False
        self.chunk = None
        self.tick = ControlTick(
            self.controller, self.groups,
            newest=self._newest,
            look=lambda _: Arm(self.pose, np.full(A, self.now_ns), self.problem),
            lost=lambda: self.lost.pop(0) if self.lost else 0,
            late_s=lambda: self.late_s,
            stamp=lambda: None, now_ns=lambda: self.now_ns, period_s=DT,
        )  # fmt: skip
        self.controller.start(1, self.pose)

    def _newest(self, epoch):
        chunk, self.chunk = self.chunk, None
        return chunk

    def give(self, rows, seq=1):
        self.chunk = ActionChunk(
            np.broadcast_to(rows, (len(rows), A)), self.state.player.step,
            step_epoch=1, epoch=1, seq=seq,
        )  # fmt: skip

    @property
    def state(self):
        return self.controller.state

    def run(self, ticks=1, missed=0):
        done = []
        for _ in range(ticks):
            self.now_ns += round(DT * 1e9)
            done += self.tick.run(missed)
            state, owed = self.state, self.tick._owed
            if owed and any(g.playing for g in self.groups):  # its driver goes on meanwhile
                state, _ = follow(self.controller.settings, state, owed, True)
            if state.target is not None and not self.limp:
                self.pose = state.target
        return done

    def said(self):
        return motion_report(self.controller.settings, self.state, 0, False).message


def ramp(rows=60, speed=0.9):
    return np.arange(1, rows + 1)[:, None] * speed * DT


def test_rows_go_to_each_driver_and_nothing_once_the_arm_rests():
    one, other = Driver([1]), Driver([0])
    bench = Bench(one, other)
    bench.run(3)
    assert not one.sent
    bench.give(ramp(10))
    bench.run(40)
    assert bench.state.mode is Mode.STARVED
    assert len(one.sent) == len(other.sent) < 25
    np.testing.assert_array_equal(one.sent[-1], bench.state.target[[1]])
    count = len(one.sent)
    bench.run(50)
    assert len(one.sent) == count
    bench.give(bench.state.target + ramp(10), seq=2)
    bench.run(1)
    assert len(one.sent) == count + 1, "motion begins again"


@pytest.mark.parametrize("missed", [1, 3, 25])
def test_after_missed_deadlines_a_driver_of_rows_begins_from_rest(missed):
    bench = Bench()
    bench.give(ramp())
    bench.run(20)
    (driver,) = bench.groups
    before, steps = driver.sent[-1], np.diff(driver.sent[-2:], axis=0)
    assert np.abs(steps).max() > 0.8 * V * DT, "it moves at speed"
    bench.run(1, missed)
    for _ in range(5):
        bench.run(1)
    after = np.array([before, *driver.sent[20:]])
    changes = np.diff(np.concatenate([before[None], after]), 2, axis=0)
    assert np.abs(changes).max() <= ACC * DT**2 + 1e-12
    assert bench.state.player.step >= 21, "no row is left out"


@pytest.mark.parametrize(("late", "stands"), [(0.4, False), (0.6, True)])
def test_a_late_tick_counts_as_time_without_a_command(late, stands):
    bench = Bench()
    bench.give(ramp())
    bench.run(20)
    bench.late_s = late * DT
    bench.run(1)
    moved = np.abs(np.diff(bench.groups[0].sent[-2:], axis=0)).max()
    assert bool(moved <= ACC * DT**2 + 1e-12) is stands


def test_after_a_long_stall_it_waits_for_joint_states_from_after_it():
    bench = Bench(resume=0.1)
    bench.give(ramp())
    bench.run(20)
    (driver,) = bench.groups
    old_ns, count = bench.now_ns, len(driver.sent)
    bench.tick._look = lambda _: Arm(bench.pose, np.full(A, old_ns))  # what was under way
    bench.run(1, missed=25)
    bench.run(5)
    assert (len(driver.sent), bench.state.mode) == (count, Mode.FAULT)
    assert "stood still: waiting for the joint state of a" in bench.state.problem
    bench.tick._look = lambda _: Arm(bench.pose, np.full(A, bench.now_ns))
    bench.run(5)
    assert bench.state.mode is Mode.RUNNING and len(driver.sent) > count


def test_an_arm_that_was_moved_while_the_process_stood_still_closes_the_gate():
    bench = Bench(resume=0.1)
    bench.give(ramp())
    bench.run(20)
    (driver,) = bench.groups
    count = len(driver.sent)
    bench.limp, bench.pose = True, bench.pose + [0.5, 0.0]
    bench.run(1, missed=25)
    bench.run(20)
    assert bench.state.mode is Mode.STOPPED and "the arm was moved" in bench.state.problem
    assert len(driver.sent) == count


def test_what_it_gave_way_it_is_not_thrown_back():
    bench = Bench(resume=0.3)
    bench.give(ramp(10))
    bench.run(60)
    (driver,) = bench.groups
    bench.pose = bench.pose - [0.2, 0.0]
    bench.limp = True
    bench.run(5)
    bench.give(bench.state.target + ramp(30), seq=2)
    bench.run(1)
    lag = bench.state.watched.lag
    assert (np.abs(driver.sent[-1] - bench.pose) <= ACC * DT**2 + lag + 1e-12).all()


def test_a_decision_within_which_the_process_stood_still_is_made_again():
    bench = Bench()
    bench.give(ramp())
    bench.run(20)
    (driver,) = bench.groups
    tries = []
    driver.on_prepare = lambda: tries.append(bench.state.player.step)
    bench.lost = [0, 2, 0]  # while it waited for the lock, in the first decision, in the second
    bench.run(1)
    assert tries == [21, 21], "the dropped one left no step behind"
    assert np.abs(np.diff(driver.sent[-2:], axis=0)).max() <= ACC * DT**2 + 1e-12
    assert len(driver.sent) == 21


def test_a_machine_that_is_always_too_slow_still_sends():
    bench = Bench()
    bench.give(ramp())
    bench.run(5)
    bench.lost = [0, 1, 1, 1, 1]
    (driver,) = bench.groups
    tries = []
    driver.on_prepare = lambda: tries.append(1)
    bench.run(1)
    assert len(tries) == 3 and len(driver.sent) == 6


def test_k_follows_a_driver_that_has_the_chunk_and_says_each_row():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver)
    bench.give(ramp())
    bench.run(10)
    assert len(driver.sent) == 1
    assert bench.run(1, missed=12) == bench.run(2) == [], "until the arm is seen"
    done = bench.run(1)
    assert [d.ago for d in done] == [*range(15, 0, -1), 0]
    steps = [d.command.played.step for d in done]
    assert steps == list(range(10, 26)) and len(driver.sent) == 1
    np.testing.assert_array_equal([d.command.target for d in done], driver.sent[0][10:26])


@pytest.mark.parametrize("moved", [0.0, 0.25, 0.5])
def test_after_a_stall_nobody_is_sent_anything_before_the_arm_was_seen(moved):
    """An emergency stop, a hand, a release: the driver may have forgotten its chunk."""
    chunks, rows = Driver([0], plays_chunks=True), Driver([1])
    bench = Bench(chunks, rows)
    bench.give(ramp())
    bench.run(20)
    sent = len(chunks.sent), len(rows.sent)
    at = bench.pose
    bench.give(ramp() + 0.01, seq=2)  # a swap waits
    bench.run(1, missed=20)
    for _ in range(2):
        assert (len(chunks.sent), len(rows.sent)) == sent
        bench.run(1)
    bench.limp = True  # as it is seen now
    bench.pose = np.array([bench.pose[0] - moved, at[1]])
    bench.run(1)
    if moved < 0.3:
        assert len(chunks.sent) == sent[0] + 1 and bench.state.mode is Mode.RUNNING
        assert bench.state.player.current.seq == 2, "what waited isn't lost"
        return
    assert (len(chunks.sent), len(rows.sent)) == sent and bench.state.mode is Mode.STOPPED
    assert "a is 0.5 from its command" in bench.state.problem
    assert bench.state.problem.endswith("while this process stood still; call ~/start")
    bench.run(20)
    assert (len(chunks.sent), len(rows.sent)) == sent


def test_a_stop_in_a_stall_is_kept_waiting_until_the_arm_was_seen():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver)
    bench.give(ramp())
    bench.run(20)
    bench.controller.stop()
    bench.run(1, missed=10)
    assert len(driver.sent) == 1
    bench.run(3)
    assert len(driver.sent) == 2 and not driver.playing


def test_rows_beside_a_chunk_stood_still_and_begin_there():
    chunks, rows = Driver([0], plays_chunks=True), Driver([1])
    bench = Bench(chunks, rows)
    bench.give(ramp())
    bench.run(20)
    stood = rows.sent[-1]
    bench.run(1, missed=7)
    done = bench.run(3)
    assert len(done) == 11 and all(d.command.target[1] == stood for d in done[:-1])
    assert np.abs(rows.sent[-1] - stood).max() <= ACC * DT**2 + 1e-12
    assert len(chunks.sent) == 2, "it is sent anew, with both joints' limits"


def test_a_fault_in_a_driver_s_message_reaches_the_caller():
    bench = Bench()
    bench.give(ramp())
    bench.run(3)

    def fails():
        raise RuntimeError("no such publisher")

    bench.groups[0].on_prepare = fails
    with pytest.raises(RuntimeError):
        bench.run(1)


def test_what_a_tick_gave_up_before_it_sent_is_no_time_without_a_command():
    bench = Bench()
    bench.give(ramp())
    bench.run(20)
    (driver,) = bench.groups
    bench.late_s = 0.45 * DT
    bench.run(1)
    bench.late_s, bench.lost = 0.9 * DT, [0, 1]

    def passes():
        bench.late_s = 0.1 * DT

    driver.on_prepare = passes
    bench.run(1)
    driver.on_prepare, bench.late_s = lambda: None, 0.0
    bench.run(2)  # 0.9 periods after the last message
    changes = np.diff(driver.sent[-6:], 2, axis=0)
    assert np.abs(changes).max() <= ACC * DT**2 + 1e-12


def test_rows_beside_a_chunk_stand_within_a_late_tick_too():
    chunks, rows = Driver([0], plays_chunks=True), Driver([1])
    bench = Bench(chunks, rows)
    bench.give(ramp())
    bench.run(20)
    bench.late_s = 0.7 * DT
    bench.run(1)
    assert np.abs(np.diff(rows.sent[-2:], axis=0)).max() <= ACC * DT**2 + 1e-12
    bench.late_s = 0.0
    bench.run(3)
    assert np.abs(np.diff(rows.sent[-4:], 2, axis=0)).max() <= ACC * DT**2 + 1e-12
    assert len(chunks.sent) == 1


def test_a_driver_that_went_on_along_its_chunk_is_not_taken_for_one_that_does_not_follow():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver, following=0.1)
    bench.give(ramp())
    bench.run(20)
    old, old_ns = bench.pose, bench.now_ns
    look = bench.tick._look
    bench.tick._look = lambda _: Arm(old, np.full(A, old_ns))  # what was heard before the stall
    bench.run(2, missed=15)
    assert bench.state.mode is Mode.RUNNING and len(driver.sent) == 1
    bench.tick._look = look
    bench.run(2)
    assert bench.state.mode is Mode.RUNNING and len(driver.sent) == 1
    bench.limp = True
    bench.run(12)
    assert "doesn't follow" in bench.state.problem, "once it is seen it is judged again"


def test_an_arm_that_still_comes_to_its_command_is_not_begun_beside():
    bench = Bench(resume=0.3)
    bench.give(ramp(10, speed=0.2))
    bench.run(10)
    (driver,) = bench.groups
    bench.limp, came = True, bench.pose
    bench.run(9)  # the arm is late, and stands for a moment
    bench.give(bench.state.target + ramp(30, speed=0.2), seq=2)
    last = driver.sent[-1]
    bench.run(1)
    assert (driver.sent[-1] == last).all(), "it waits"
    bench.limp, bench.pose = False, bench.state.target
    bench.run(1)
    assert (driver.sent[-1] >= last).all() and (last > came).all(), "never back"


def test_why_motion_does_not_go_on_though_a_chunk_is_there_is_said():
    bench = Bench(resume=0.3)
    bench.give(ramp(10, speed=0.2))
    bench.run(40)
    assert bench.said() == "starved: the chunk ran out, holding until the next one comes"
    bench.limp, bench.pose = True, bench.pose - [0.0, 0.12]
    bench.give(bench.state.target + ramp(30, speed=0.2), seq=2)
    bench.run(1)
    count = len(bench.groups[0].sent)
    said = bench.said()
    assert "with a chunk to go on with: b gave way by 0.1" in said
    assert "b still moves: 0.12 in the last 0.1 s" in said
    bench.problem = "the joint state of a is 0.50 s old"
    bench.run(1)
    assert bench.said() == bench.problem
    bench.problem = ""
    bench.run(1)
    assert bench.state.mode is Mode.FAULT and len(bench.groups[0].sent) == count
    assert "with a chunk to go on with: b gave way" in bench.said()
    assert "hasn't been seen standing still for 0.1 s" in bench.said()
    bench.run(6)
    assert bench.state.mode is Mode.RUNNING and bench.said() == "executing"


def test_that_a_joint_state_is_too_old_to_begin_beside_it_is_said():
    bench = Bench(resume=0.3)
    bench.give(ramp(10, speed=0.2))
    bench.run(13)
    bench.limp, bench.pose = True, bench.pose - [0.1, 0.0]
    bench.give(bench.state.target + ramp(30, speed=0.2), seq=2)
    bench.run(1)
    assert "a gave way by 0." in bench.said()
    assert "the joint state of a has to come that is 0.2 s younger than its last command" in (
        bench.said()
    )


@pytest.mark.parametrize("where", ["on_prepare", "publish"])
def test_after_a_tick_that_failed_it_brakes_from_where_the_driver_was_told(where):
    bench = Bench()
    bench.give(ramp())
    bench.run(20)
    (driver,) = bench.groups

    before = getattr(driver, where)

    def fails(*_):
        setattr(driver, where, before)
        raise RuntimeError("no such publisher")

    setattr(driver, where, fails)
    last, step = driver.sent[-1], bench.state.player.step
    with pytest.raises(RuntimeError):
        bench.run(1)
    assert bench.state.player.step == step
    bench.controller.close("a tick failed")
    bench.run(10)
    assert all((row == last).all() for row in driver.sent[20:]), "it stands there already"
    assert bench.controller.settled and bench.state.mode is Mode.STOPPED


def test_k_waits_for_a_driver_of_chunks_that_rests_elsewhere():
    chunks, rows = Driver([0], plays_chunks=True), Driver([1])
    bench = Bench(chunks, rows, resume=0.1, following=0.1)
    bench.give(ramp(20))
    bench.run(60)
    assert bench.state.mode is Mode.STARVED
    chunks.sent.clear(), rows.sent.clear()
    # A hand, while its torque was off: 0.5 s for a driver back, and 0.2 s for its arm.
    bench.limp, bench.pose = True, bench.pose + 0.05
    bench.controller.stop()
    bench.run(10)
    bench.controller.start(2, bench.pose)
    chunk = ActionChunk(bench.pose + np.full((30, A), 0.004), 0, step_epoch=2, epoch=2, seq=1)
    bench.chunk = chunk
    begun = bench.run(1)
    assert [len(m) for m in chunks.sent] == [1] and not rows.sent
    np.testing.assert_array_equal(chunks.sent[0][0], bench.pose[:1])
    assert begun[0].command.reason == "hold: until the driver has come to where motion begins"
    bench.limp = False
    bench.run(34)
    assert len(chunks.sent) == 1 and not rows.sent and bench.state.player.step == 0
    bench.run(3)
    assert bench.state.mode is Mode.RUNNING and bench.state.player.step == 3
    assert len(chunks.sent) == 2 and rows.sent
    first = np.abs(chunks.sent[1][0] - chunks.sent[0][0])
    assert (first <= ACC * DT**2 + 1e-12).all(), "it begins where the driver rests"


def test_rows_beside_a_driver_that_came_begin_where_their_arm_then_is():
    """While motion waits for a joint state that is new, a hand moves it."""
    chunks, rows = Driver([0], plays_chunks=True), Driver([1])
    bench = Bench(chunks, rows)
    bench.give(ramp(20))
    bench.run(60)
    bench.controller.stop()
    bench.limp, bench.pose = True, bench.pose + 0.05
    bench.run(10)
    bench.controller.start(2, bench.pose)
    rows.sent.clear()
    bench.chunk = ActionChunk(bench.pose + np.zeros((30, A)), 0, step_epoch=2, epoch=2, seq=1)
    bench.run(30)
    look, old, old_ns = bench.tick._look, bench.pose, bench.now_ns
    bench.tick._look = lambda _: Arm(old, np.full(A, old_ns))
    bench.run(8)
    assert "is heard of" in bench.run(1)[0].command.reason and not rows.sent
    bench.pose, bench.tick._look = old - [0.0, 0.12], look
    bench.run(40)
    assert rows.sent, "it goes on"
    assert np.abs(rows.sent[0] - bench.pose[1]).max() <= ACC * DT**2 + 1e-12


def test_rows_beside_a_driver_that_is_sent_ahead_within_a_run_stay_where_they_were_told():
    """Their arm gave way when it was sent, and is back when motion goes on: a row is one step."""
    chunks, rows = Driver([0], plays_chunks=True), Driver([1])
    bench = Bench(chunks, rows)
    bench.give(ramp(20))
    bench.run(60)
    told, count = rows.sent[-1], len(rows.sent)
    watched = changed(bench.state.watched, lag=np.full(A, 0.06))  # an arm of some lag
    bench.controller.state = changed(bench.state, watched=watched)
    bench.limp, rested = True, bench.pose
    bench.pose = rested - [0.12, 0.1]
    bench.run(20)
    bench.give(np.tile(rested, (40, 1)), seq=2)
    bench.run(2)
    assert bench.tick._coming is not None and len(rows.sent) == count
    bench.pose = np.array([bench.tick._coming.begin[0], rested[1]])
    bench.run(120)
    assert bench.state.player.step == 60
    way = np.diff([told, *rows.sent[count:]], axis=0)
    assert np.abs(way).max() <= ACC * DT**2 + 1e-9


def test_an_arm_that_is_moved_while_k_waits_begins_where_it_then_is():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver, resume=0.1, following=0.1)
    bench.give(ramp(20))
    bench.run(60)
    bench.controller.stop()
    bench.limp, bench.pose = True, bench.pose + 0.04
    bench.run(10)
    bench.controller.start(2, bench.pose)
    driver.sent.clear()
    bench.chunk = ActionChunk(bench.pose + np.zeros((30, A)), 0, step_epoch=2, epoch=2, seq=1)
    bench.run(2)
    bench.pose = bench.pose + 0.2  # by a hand
    bench.run(15)
    assert len(driver.sent) == 1, "nothing while it isn't where it was told"
    for _ in range(200):
        bench.run(1)
        if bench.state.mode is Mode.RUNNING:
            break
    assert len(driver.sent) == 3
    for message in driver.sent[1:]:
        assert (np.abs(message[0] - bench.pose) <= ACC * DT**2 + 1e-12).all()


def test_a_driver_is_sent_to_where_motion_begins_seldom():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver, resume=0.5)
    bench.give(ramp(10))
    bench.run(60)
    bench.problem, bench.limp = "it isn't seen", True
    bench.run(20)
    bench.problem, bench.pose = "", bench.pose - 0.2
    bench.run(12)
    bench.give(bench.state.target + ramp(50), seq=2)
    count = len(driver.sent)
    for _ in range(100):  # a hand leads it on, slowly enough to be taken for one that stands
        bench.run(1)
        bench.pose = bench.pose - 0.0003
    assert bench.state.mode is not Mode.RUNNING or len(driver.sent) - count <= 3
    assert len(driver.sent) - count <= 1 + 100 * DT / 0.2


def test_a_policy_that_stands_for_a_moment_keeps_no_driver_waiting():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver)
    bench.give(np.concatenate([np.zeros((10, 1)), ramp(30)]))
    bench.run(6)
    bench.give(np.concatenate([np.zeros((4, 1)), ramp(30)]), seq=2)
    bench.run(1)
    assert bench.state.player.step == 7 and len(driver.sent) == 2


def test_no_run_begins_on_an_arm_that_moves():
    """It stood at ~/start. Then somebody let it go, or a driver pulls it to where it was told."""
    bench = Bench()
    (driver,) = bench.groups
    bench.limp = True
    bench.run(10)
    bench.pose = np.array([0.03, 0.0])
    bench.run()
    bench.give(ramp())
    for i in range(12):
        bench.pose = np.array([0.03 * (i + 2), 0.0])
        (done,) = bench.run(1)
        assert not driver.sent
        assert "until the arm stands, to begin there: a still moves" in done.command.reason
    assert bench.state.player.step == 0, "k waits"
    bench.run(9)  # 0.1 s and more
    assert (np.abs(driver.sent[0] - bench.pose) <= LIMITS.max_bend * (1 + 1e-9)).all()


def test_what_comes_too_late_to_join_a_curve_is_decided_by_the_next_tick():
    driver = Driver([0, 1], plays_chunks=True)
    bench = Bench(driver)
    bench.give(ramp())
    bench.run(10)
    assert len(driver.sent) == 1
    bench.give(ramp() + 0.001, seq=2)
    bench.late_s = 0.95 * DT
    assert bench.run(1) == [] and len(driver.sent) == 1
    bench.late_s = 0.0
    followed, swapped = bench.run(1)
    assert followed.ago == 1 and followed.command.played.chunk.seq == 1
    assert swapped.command.played.swap is not None and swapped.command.played.chunk.seq == 2
    assert swapped.command.played.step == 11 and len(driver.sent) == 2


def test_rows_go_out_however_late_their_tick_is():
    bench = Bench()
    bench.give(ramp())
    bench.run(10)
    bench.late_s = 0.95 * DT
    bench.run(1)
    assert len(bench.groups[0].sent) == 11
