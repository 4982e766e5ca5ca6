"""What becomes of the arm itself, where a driver obeys what it is sent."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import test_gate
from obeying_robot import ACC, DT, ObeyingRobot, V

from rtc_ros.controller.gate import Gate
from rtc_ros.core.cursor import Mode


def moving(kind, **options):
    """Return a robot that was moved by a chunk, and starved."""
    robot = ObeyingRobot(kind, **options)
    robot.start()
    robot.give(np.arange(40) * 0.006)
    robot.run(110)
    assert robot.state.mode is Mode.STARVED
    return robot


def begun_elsewhere(place, rows, **options):
    """Return one whose limp arm was led to ``place`` between two runs, with a chunk to go on."""
    robot = moving("joint_trajectory_chunk", **options)
    robot.controller.stop()
    robot.arm.torque_off()
    robot.arm.lead(np.full(2, place), 3.0)
    robot.run(80)
    robot.start()
    robot.give(np.full(rows, place))
    return robot


@pytest.mark.parametrize("kind", ["joint_trajectory_chunk", "float64_multi_array"])
def test_an_arm_that_sags_at_rest_is_not_followed_down(kind):
    """On its way down its lag and its sag cancel: what it lags by is less than what it sags by."""
    robot = ObeyingRobot(kind, lag_s=0.05)
    robot.arm.push(np.full(2, -0.03))
    robot.run(20)
    robot.start()
    robot.give(robot.arm.pose[0] - np.arange(1, 81) * 0.6 * DT)
    robot.run(110)
    rest, step = robot.arm.pose.copy(), robot.state.player.step
    assert robot.state.mode is Mode.STARVED
    robot.give(np.full(60, robot.state.target[0]))  # it is to stay
    robot.run(250)
    assert robot.state.player.step > step + 40, "it goes on"
    np.testing.assert_allclose(robot.arm.pose, rest, atol=0.04)


@pytest.mark.parametrize("kind", ["joint_trajectory_chunk", "float64_multi_array"])
@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_motion_does_not_begin_by_a_joint_state_that_is_old(kind, speed):
    """Nobody hears of the arm for less than the timeout, in which a hand moves it."""
    robot = moving(kind, latches=False, lag_s=0.02)
    robot.silent = True
    robot.arm.torque_off()
    robot.arm.lead(robot.arm.pose - 2.0, speed)
    robot.run(18)
    robot.arm.release()
    sent = len(robot.sent)
    robot.give(np.full(50, robot.state.target[0]))
    robot.run(5)
    assert len(robot.sent) == sent
    robot.silent = False
    robot.run(60)
    if speed * 0.36 > 0.35:
        assert robot.state.mode is Mode.STOPPED and len(robot.sent) == sent
        return
    _, message, arm = robot.sent[sent]
    row = message.positions[0] if kind == "joint_trajectory_chunk" else message
    assert np.abs(row - arm).max() < 0.03, "it begins where the arm then is"


def test_a_driver_that_came_is_at_rest_for_the_gate():
    robot = begun_elsewhere(0.9, rows=20)
    robot.run(200)
    assert robot.state.mode is Mode.STARVED and not robot.group.comes


def speed_since(robot, since_s):
    """Return the arm's greatest speed since then [rad/s]."""
    past = [(at, pose[0]) for at, pose in robot.arm.past if at >= since_s - 1e-9]
    times, poses = np.array(past).T
    return np.abs(np.diff(poses) / np.diff(times)).max()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("released", [0, 20, 40, 45, 55])
@pytest.mark.parametrize("away", [0.15, -0.26, 0.5])
def test_no_limp_arm_is_thrown_to_where_its_driver_forgot_to_go(away, released, again):
    """A hand leads it on while its driver is sent to where motion begins, and lets go: the torque
    comes back at any time until motion begins. The driver forgets what it is told without it."""
    robot = begun_elsewhere(0.9, rows=60, lag_s=0.02, latches=False)
    robot.run(6)
    assert robot.group.comes_to_begin
    robot.arm.lead(robot.arm.pose + away, 2.0)
    for tick in range(released):
        if again and tick == 48:
            robot.arm.lead(robot.arm.pose - 0.7 * away, 2.0)
        robot.run()
    assert robot.state.mode is Mode.WAITING, "its motion has not begun"
    robot.arm.release()
    released_s = robot.now_ns * 1e-9
    robot.run(200)
    assert speed_since(robot, released_s) < 1.05 * V
    assert robot.state.player.step == 60, "it goes on"


def test_an_arm_that_is_led_on_again_and_again_closes_the_gate():
    robot = begun_elsewhere(0.9, rows=60, lag_s=0.02, latches=False)
    for away in (0.1, 0.2, 0.19, 0.12, 0.15, 0.1, 0.2):
        robot.arm.lead(robot.arm.pose + away, 2.0)
        sent = len(robot.sent)
        while len(robot.sent) == sent and not robot.state.stopped:
            robot.run()
    assert robot.state.stopped and robot.state.player.step == 0
    assert "was sent to where motion begins 5 times and is" in robot.state.last_problem
    assert "call ~/start" in robot.state.last_problem


@pytest.mark.parametrize("where", ["between ticks", "within a tick"])
@pytest.mark.parametrize("kind", ["float64_multi_array", "joint_trajectory_chunk"])
def test_a_long_stall_closes_the_gate_wherever_it_falls(kind, where):
    robot = ObeyingRobot(kind)
    gate = Gate(
        test_gate.Node(), robot.controller, threading.Lock(), [robot.group], pose=lambda: None,
        obstacle=lambda: "", epoch=robot.epoch, latch=test_gate.Latch(), hold_ticks=750,
    )  # fmt: skip

    def run(ticks):
        for _ in range(ticks):
            robot.run()
            gate.after_tick("", robot.control.missed)

    robot.start()
    robot.give(np.arange(400) * 0.001)
    run(20)
    at, periods = robot.state.player.step, [3000]
    assert robot.state.mode is Mode.RUNNING
    if where == "between ticks":
        robot.stall(periods.pop())
    robot.control._lost = lambda: robot.lose(periods.pop()) if periods else 0
    run(60)
    assert robot.state.stopped and "hold_timeout" in robot.state.problem
    assert robot.state.player.step <= (at + 3 if kind == "float64_multi_array" else 400)


def test_faults_on_each_way_do_not_send_a_driver_to_the_start_for_ever():
    robot = begun_elsewhere(0.9, rows=60, lag_s=0.02, latches=False)
    for way in range(12):
        robot.arm.lead(robot.arm.pose + (0.1, 0.2, -0.15)[way % 3], 2.0)
        sent = len(robot.sent)
        for tick in range(200):
            robot.fault = "the joint state of a is 0.5 s old" if tick == 12 else ""
            robot.run()
            if tick > 12 and (robot.state.stopped or len(robot.sent) > sent):
                break
    assert robot.state.stopped and robot.state.player.step == 0
    assert "to where motion begins 5 times, and a fault broke each" in robot.state.last_problem


@pytest.mark.parametrize("dt", [0.02, 1 / 30])
@pytest.mark.parametrize("states_ns", [10_000_000, 100_000_000])
@pytest.mark.parametrize("lag_s", [0.0, 0.1])
@pytest.mark.parametrize("load", [-0.12, -0.05, 0.05, 0.2])
def test_an_arm_that_a_load_holds_off_begins_and_goes_on_soon(dt, states_ns, lag_s, load):
    """However slow it, and the joint states that tell of it, are; begun anew and within a run."""
    robot = ObeyingRobot("joint_trajectory_chunk", dt=dt, lag_s=lag_s, states_ns=states_ns)
    robot.arm.push(np.array([load, 0.9 * load]))
    for begins in (True, False):
        if begins:
            robot.run(round(1.0 / dt))
            robot.start()
        sent, step = len(robot.sent), robot.state.player.step
        robot.give(np.full(20, robot.arm.pose[0] if begins else robot.state.target[0]))
        robot.run(round(5.0 / dt))
        assert robot.state.player.step == step + 20, robot.state.last_problem
        assert len(robot.sent) - sent <= 7


def test_a_load_that_is_too_much_closes_the_gate_before_it_sinks_a_third_time():
    robot = moving("joint_trajectory_chunk", lag_s=0.02)
    pushed_and_started(robot, -0.5)
    begun = robot.arm.pose[0]
    robot.run(300)
    assert robot.state.stopped and robot.state.player.step == 0
    assert "(resume_tolerance is 0.3): a load or a hand" in robot.state.last_problem
    assert robot.arm.pose[0] > begun - 2 * 0.5 - 0.01


@pytest.mark.parametrize("nudge", [0.1, 0.19, 0.25])
def test_two_equal_nudges_are_no_load(nudge):
    robot = begun_elsewhere(0.9, rows=60, lag_s=0.02, latches=False)
    for _ in range(2):
        sent = len(robot.sent)
        robot.run(3)
        robot.arm.lead(robot.arm.pose + nudge, 2.0)
        while len(robot.sent) == sent:
            robot.run()
    robot.run(5)
    robot.arm.release()
    released_s = robot.now_ns * 1e-9
    robot.run(300)
    assert speed_since(robot, released_s) < 1.05 * V
    assert robot.state.player.step == 60 or robot.state.stopped


@pytest.mark.parametrize("load", [0.05, 0.1, 0.15, 0.2])
def test_a_load_that_is_put_on_a_starved_arm_within_the_tolerance_is_no_hand(load):
    robot = moving("joint_trajectory_chunk", lag_s=0.02, resume=0.26)
    robot.arm.push(np.full(2, -load))
    robot.run(50)
    step = robot.state.player.step
    robot.give(np.full(40, robot.state.target[0]))
    robot.run(250)
    assert robot.state.player.step == step + 40, robot.state.last_problem


@pytest.mark.parametrize(
    ("silent_s", "states_ns"), [(0.4, 10_000_000), (0.24, 10_000_000), (0.0, 100_000_000)]
)
def test_a_stop_sends_no_driver_to_where_its_arm_was_a_while_ago(silent_s, states_ns):
    robot = begun_elsewhere(1.7, rows=60, lag_s=0.02, latches=False, states_ns=states_ns)
    robot.run(6)
    assert robot.group.comes_to_begin
    robot.silent = silent_s > 0
    robot.arm.lead(robot.arm.pose + 1.0, 3.0)
    robot.run(max(round(silent_s / DT), 8))
    robot.arm.release()
    sent = len(robot.sent)
    robot.controller.stop()
    robot.run(10)
    robot.silent = False
    released_s = robot.now_ns * 1e-9
    robot.run(200)
    allowed = 3.0 * states_ns * 1e-9 + 0.07  # as far as the hand goes from one state to the next
    for _, message, arm in robot.sent[sent:]:
        assert np.abs(message.positions[0] - arm).max() < min(allowed, 0.35)
    assert speed_since(robot, released_s) < 1.05 * V


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("after", [1, 3, 6, 12])
@pytest.mark.parametrize("load", [-0.25, 0.1])
def test_a_stop_after_a_driver_was_sent_again_keeps_the_limits(load, after, begins):
    """One that never let go begins where it was told, one that forgot it at its arm."""
    robot = moving("joint_trajectory_chunk", lag_s=0.02)
    if begins:
        begun_s = pushed_and_started(robot, load)
    else:
        robot.arm.push(np.full(2, load))
        robot.run(50)
        begun_s = robot.now_ns * 1e-9
        robot.give(np.full(40, robot.state.target[0]))
    while robot.control._coming is None or robot.control._coming.times < 2:
        robot.run()
    robot.run(after)
    robot.controller.stop()
    robot.run(150)
    speed, acceleration = robot.driven(begun_s)
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC


@pytest.mark.parametrize("side", [-1, 1])
def test_a_limp_arm_near_a_limit_is_told_from_a_loaded_one(side):
    robot = begun_elsewhere(side * 0.98, rows=60, lag_s=0.02, latches=False, span=1.0)
    robot.run(6)
    robot.arm.lead(robot.arm.pose - side * 0.25, 2.0)
    while robot.state.mode is Mode.WAITING:
        robot.run()
    at_s, message, arm = next(s for s in robot.sent if len(s[1].positions) > 1 and s[0] > 4.0)
    assert np.abs(message.positions[0] - arm).max() < 0.02


@pytest.mark.parametrize("speed", [0.3, 0.6, 1.5])
def test_no_run_begins_on_an_arm_that_moves_to_where_it_would_be_as_far_off(speed):
    robot = begun_elsewhere(0.9, rows=60, lag_s=0.02, latches=False)
    robot.run(6)
    robot.arm.lead(robot.arm.pose + 0.25, 2.0)
    while robot.control._coming.times < 2:
        robot.run()
    robot.run(15)
    robot.arm.lead(robot.arm.pose - 0.7, speed)
    for _ in range(300):
        robot.run()
        if robot.state.mode is Mode.RUNNING or robot.state.stopped:
            break
    before = [p[0] for at, p in robot.arm.past if at > robot.now_ns * 1e-9 - 0.1]
    assert robot.state.stopped or np.ptp(before) < 0.04


@pytest.mark.parametrize("after", [1, 3])
def test_a_stop_of_a_joint_that_comes_across_half_a_turn_is_as_quick(after):
    robot = ObeyingRobot(
        "joint_trajectory_chunk", lag_s=0.02, span=np.inf, turn=[2 * np.pi] * 2, wraps=True
    )
    robot.start()
    robot.give(3.3 * np.minimum(1.0, np.arange(250) / 220))
    robot.run(300)
    robot.controller.stop()
    robot.arm.push(np.full(2, 0.1))
    robot.run(60)
    robot.start()
    robot.give(np.full(60, robot._seen[0]))
    robot.run(after)
    assert robot.group.comes_to_begin
    robot.controller.stop()
    robot.run(3)
    assert robot.sent[-1][1].times[-1] < 0.5


@pytest.mark.parametrize("sag", [0.05, 0.15, 0.25])
def test_an_arm_that_sags_more_than_it_stands_off_sinks_once_and_goes_on(sag):
    """It is as far off wherever it is sent: that is seen by sending it half the way, once."""
    robot = moving("joint_trajectory_chunk", lag_s=0.02)
    begun_s = pushed_and_started(robot, -sag)
    begun = robot.arm.pose[0]
    robot.run(160)
    assert robot.state.player.step == 60
    lowest = min(pose[0] for at, pose in robot.arm.past if at >= begun_s)
    times = 1.5 if sag > 2 * robot.controller.settings.guards._stands[0] else 2
    assert begun - times * sag - 0.01 <= lowest < begun - sag + 0.01
    speed, acceleration = robot.driven(begun_s)
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC


def test_a_policy_that_stands_for_a_moment_waits_for_no_joint_state():
    """At 10 Hz they are older than what begins a motion; its driver has the whole chunk."""
    robot = ObeyingRobot("joint_trajectory_chunk", states_ns=100_000_000)
    robot.start()
    robot.give(np.concatenate([np.zeros(15), np.arange(1, 46) * 0.9 * DT]))
    robot.run(30)
    assert robot.state.mode is Mode.RUNNING and robot.state.player.step > 20
    assert len(robot.sent) == 1
    robot.controller.stop()
    robot.run(30)
    stood = robot.driver.told(robot.now_ns * 1e-9)[0]
    assert len(robot.sent) == 2 and stood < 0.5 * 45 * 0.9 * DT, "not the chunk's end"


def test_what_holds_the_motion_is_never_sent_with_the_rest_of_the_chunk():
    """Whatever the reason: this tick's decision stands before the mode."""
    robot = ObeyingRobot("joint_trajectory_chunk")
    robot.start()
    robot.give(np.concatenate([np.zeros(15), np.arange(1, 46) * 0.9 * DT]))
    robot.run(10)
    decide = robot.controller.tick
    robot.controller.tick = lambda inputs: decide(replace(inputs, hold="for a test"))
    robot.run(40)
    assert not robot.group.playing and not np.any(robot.driver.told(robot.now_ns * 1e-9))


@pytest.mark.parametrize(("away", "after", "ticks"), [(0.3, 5, 1), (0.8, 15, 3), (1.5, 20, 3)])
def test_a_fault_while_a_driver_comes_sends_it_nowhere_faster(away, after, ticks):
    robot = moving("joint_trajectory_chunk", lag_s=0.02)
    robot.controller.stop()
    robot.arm.push(np.full(2, away))
    robot.run(60)
    robot.start()
    begun_s, sent = robot.now_ns * 1e-9, len(robot.sent)
    robot.give(np.full(60, robot.arm.pose[0]))
    robot.run(after)
    robot.fault = "the joint state of a is 0.5 s old"
    robot.run(ticks)
    robot.fault = ""
    robot.run(150)
    assert len(robot.sent) > sent
    speed, acceleration = robot.driven(begun_s)
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC


@pytest.mark.parametrize(
    ("dt", "acc"), [(0.02, 8.0), (0.02, 2.0), (0.02, 1.0), (0.1, 8.0), (0.1, 2.0), (0.2, 1.0)]
)
def test_a_start_soon_after_a_stop_keeps_the_limits(dt, acc):
    """The driver of chunks comes to rest later than what was decided, and by that its arm."""
    robot = ObeyingRobot("joint_trajectory_chunk", dt=dt, acc=acc, following=0.9)
    robot.start()
    robot.give(np.arange(1, 60) * 0.9 * dt)
    robot.run(round(1.4 / dt))
    robot.controller.stop()
    for _ in range(round(3.0 / dt)):
        robot.run()
        rests = robot.controller.settled and not (robot.group.playing or robot.group.comes)
        if rests and not robot.controller.still_moves:
            break
    assert rests, "the gate may open"
    begun_s = robot.now_ns * 1e-9
    robot.start()
    robot.give(np.full(60, robot.arm.pose[0]))
    robot.run(round(2.0 / dt))
    speed, acceleration = robot.driven(begun_s)
    assert speed <= 1.01 * V and acceleration <= 1.01 * acc


@pytest.mark.parametrize("dt", [0.02, 1 / 30, 0.1, 0.2])
def test_an_arm_that_goes_at_almost_full_speed_does_not_stand(dt):
    robot = ObeyingRobot("float64_multi_array", dt=dt)
    robot.arm.torque_off()
    robot.arm.lead(np.full(2, 5.0), 0.9 * V)
    for _ in range(round(2.0 / dt)):
        robot.run()
        assert robot.arm.pose[0] < 0.2 or "still moves" in robot.controller.still_moves


@pytest.mark.parametrize("states_ns", [10_000_000, 100_000_000, 200_000_000])
def test_a_push_is_no_lag_of_the_arm_s_a_second_later(states_ns):
    """However seldom its joint states come."""
    robot = ObeyingRobot(
        "float64_multi_array", lag_s=0.02, latches=False, states_ns=states_ns, timeout_s=0.9
    )
    robot.start()
    robot.give(np.arange(1, 130) * 0.1 * DT)
    robot.run(60)
    robot.arm.push(np.full(2, -0.27))
    robot.run(25)
    robot.arm.push(np.zeros(2))
    robot.run(70)  # 0.9 s later it starves
    robot.arm.torque_off()
    robot.arm.lead(robot.arm.pose - 0.25, 2.0)
    robot.run(40)
    robot.arm.release()
    robot.run(40)
    sent = len(robot.sent)
    robot.give(np.full(40, robot.state.target[0]))
    robot.run(60)
    assert len(robot.sent) > sent
    _, row, arm = robot.sent[sent]
    assert np.abs(row - arm).max() < 0.02


@pytest.mark.parametrize(("periods", "hand"), [(15, 0.4), (35, 0.8), (75, 1.5)])
def test_a_stop_in_a_stall_throws_no_arm_that_was_moved_in_it(periods, hand):
    """An emergency stop, a hand, the release and ~/stop, all while this process stands still."""
    robot = ObeyingRobot("joint_trajectory_chunk", lag_s=0.02, latches=False)
    robot.start()
    robot.give(np.arange(1, 200) * 0.8 * DT)
    robot.run(40)
    robot.arm.torque_off()
    robot.arm.lead(robot.arm.pose - hand, 6.0)
    robot.stall(periods - 2)
    robot.arm.release()
    robot.stall(2)
    stood = robot.arm.pose.copy()
    robot.controller.stop()
    robot.run(40)
    assert np.abs(robot.arm.pose - stood).max() < 0.01
    assert robot.state.stopped and not robot.group.playing


@pytest.mark.parametrize("silent", [False, True])
def test_a_stop_in_a_stall_is_sent_within_a_tenth_of_a_second(silent):
    robot = ObeyingRobot("joint_trajectory_chunk")
    robot.start()
    robot.give(np.arange(1, 200) * 0.8 * DT)
    robot.run(40)
    robot.stall(15)
    robot.silent = silent
    robot.controller.stop()
    at_s, sent = robot.now_ns * 1e-9, len(robot.sent)
    robot.run(20)
    assert len(robot.sent) == sent + 1 and robot.sent[-1][0] - at_s < 0.1 + 1.5 * DT
    assert max(robot.driven() / [V, ACC]) <= 1.01


@pytest.mark.parametrize("after", [1, 20, 40, 60])
def test_a_stop_throws_no_arm_whose_driver_forgot_where_it_was_told_to_rest(after):
    """An emergency stop, a hand, its release, ~/start, and ~/stop while it is given time."""
    robot = moving("joint_trajectory_chunk", latches=False)
    robot.controller.stop()
    robot.arm.torque_off()
    robot.arm.lead(np.full(2, 1.7), 3.0)
    robot.run(60)
    robot.arm.release()
    robot.run(20)
    robot.start()
    robot.give(np.full(60, robot.arm.pose[0]))
    robot.run(after)
    assert robot.group.comes_to_begin
    robot.controller.stop()
    robot.run(150)
    np.testing.assert_allclose(robot.arm.pose, 1.7, atol=1e-3)
    assert not robot.group.comes


@pytest.mark.parametrize("after", [1, 15, 30, 60])
@pytest.mark.parametrize("away", [0.2, 1.5])
def test_a_stop_of_a_driver_that_comes_leaves_it_where_its_arm_is_within_the_limits(away, after):
    """A driver that never let go, and something that holds its arm off."""
    robot = moving("joint_trajectory_chunk", lag_s=0.02)
    robot.controller.stop()
    robot.arm.torque_off()
    robot.arm.lead(robot.arm.pose + away, 3.0)
    robot.run(60)
    robot.start()
    begun_s = robot.now_ns * 1e-9
    robot.give(np.full(60, robot.arm.pose[0]))
    robot.run(after)
    robot.controller.stop()
    robot.run(150)
    np.testing.assert_allclose(robot.driver.told(robot.now_ns * 1e-9), robot.arm.pose, atol=1e-3)
    speed, acceleration = robot.driven(begun_s)
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC


def test_a_stop_stops_an_arm_that_comes_with_its_driver():
    """Its weight holds it off where it was told to be: by as much as before, when it stops."""
    robot = moving("joint_trajectory_chunk", lag_s=0.02)
    robot.controller.stop()
    robot.arm.push(np.full(2, -0.25))
    robot.run(60)
    robot.start()
    robot.give(np.full(60, robot.arm.pose[0]))
    robot.run(12)
    assert robot.group.comes_to_begin
    arm, told = robot.arm.pose[0], robot.driver.told(robot.now_ns * 1e-9)[0]
    robot.controller.stop()
    robot.run(100)
    assert abs(robot.driver.told(robot.now_ns * 1e-9)[0] - arm) < 0.05
    assert abs(robot.arm.pose[0] - arm) < told - arm + 0.05


def pushed_and_started(robot, way):
    """Stop, push the arm, start and give it a chunk; return when it was started [s]."""
    robot.controller.stop()
    robot.arm.push(np.full(2, way))
    robot.run(60)
    robot.start()
    begun_s = robot.now_ns * 1e-9
    robot.give(np.full(60, robot.arm.pose[0]))
    return begun_s


def test_a_driver_comes_to_where_motion_begins_within_the_jerk_limit():
    """As the commands are: in one period the acceleration changes by max_jerk × Δt at the most."""
    jerk = 100.0
    robot = moving("joint_trajectory_chunk", max_jerk=[jerk] * 2)
    begun_s = pushed_and_started(robot, 0.25)
    robot.run(15)
    assert robot.group.comes_to_begin
    robot.controller.stop()
    robot.run(100)
    changes = robot.bends(begun_s)
    assert len(changes) > 100 and np.abs(changes).max() <= 1.05 * jerk * DT


@pytest.mark.parametrize("slow", [1, 3, 10])
def test_a_slow_simulator_s_driver_is_given_its_own_time_to_come(slow):
    robot = moving("joint_trajectory_chunk", lag_s=0.02, slow=slow)
    begun_s = pushed_and_started(robot, 0.25)
    robot.run(160)
    assert robot.state.player.step == 60
    speed, acceleration = robot.driven(begun_s)
    assert speed <= 1.01 * V and acceleration <= 1.01 * ACC
