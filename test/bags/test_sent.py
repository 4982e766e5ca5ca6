"""What drivers of rows were sent, from a recording: which messages were rows, and how smooth."""

import json

import numpy as np
import pytest
from bag_maker import TYPES, joint_state, write_bag

from rtc_ros.bags.sent_reader import SentLog, read_sent
from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, begin_at, cut
from rtc_ros.core.limits import JointLimits
from rtc_ros.parameter_files import yaml_value
from rtc_ros.report.examine import examine
from rtc_ros.report.facts import facts
from rtc_ros.report.figure import draw_report
from rtc_ros.ros.provenance import FIELDS
from rtc_ros.tools.continuity import main

DT, NS = 0.02, 20_000_000
BEGIN = 10**18
JOINTS = ("a", "b", "c")
SPACE = "/robot"
ARM, HAND = f"{SPACE}/arm/commands", f"{SPACE}/hand"


def wave(ticks):
    """Rows [ticks, 3] from rest on, with a shake of 5 mrad that the limits of 8 rad/s² cut."""
    at_s = np.arange(1, ticks + 1)[:, None] * DT * np.array([1.0, 0.7, 0.5])
    return 0.3 - 0.3 * np.cos(np.pi * at_s) + np.random.default_rng(0).normal(0, 5e-3, (ticks, 3))


def told(points=5, ticks=400, jerk=None, rests=range(0), cut_at=-1, swap_at=-1):
    """Return each tick's command as the controller makes it; within ``rests`` it is stopped, at
    tick ``cut_at`` the machine sent three set points in time, and at ``swap_at`` another chunk
    comes, 0.05 rad away."""
    jerks = None if jerk is None else [jerk] * 3
    limits = JointLimits.from_velocity([-9.0] * 3, [9.0] * 3, [4.0] * 3, DT, [8.0] * 3,
                                       max_jerk=jerks)  # fmt: skip
    controller = Controller(limits, points=points)
    controller.start(1, np.zeros(3))
    controller.offer(ActionChunk(wave(ticks), 0, step_epoch=1, epoch=1, seq=1))
    made = []
    for tick in range(ticks):
        if tick == rests.start and rests:
            controller.stop()
        if tick == rests.stop and rests:
            pose = controller.state.row
            controller.start(2, pose)
            actions = pose + wave(ticks)
            controller.offer(ActionChunk(actions, 0, step_epoch=2, epoch=1, seq=2))
        if tick == swap_at:
            rows = wave(ticks)[tick:] + 0.05
            controller.offer(ActionChunk(rows, tick, step_epoch=1, epoch=1, seq=2))
        command = controller.tick()
        if tick == cut_at:
            controller.state, command = cut(controller.settings, controller.state, command, 3)
            controller.state = begin_at(controller.settings, controller.state, command.row)
        made.append((controller.state.player.epoch, command))
    return made


def recorded(folder, made, points=5, lost=(), jerk=None, marked=True, hand="hand", at_topic=HAND):
    """Write a bag; ``lost`` messages (of ARM, by their number) aren't in it.

    The parameters name one driver's topic ``hand``, and it has its messages ``at_topic``.
    """
    chance = np.random.default_rng(1)
    values = {
        "control_period": DT, "command_rate": points / DT if points > 1 else 0.0,
        "command_groups": ["arm", "hand"], "group.arm.topic": "arm/commands",
        "group.arm.type": "float64_multi_array", "group.arm.joints": ["c", "a"],
        "group.hand.topic": hand, "group.hand.type": "joint_state", "group.hand.joints": ["b"],
    }  # fmt: skip
    if jerk is not None:
        values["max_jerk"] = [jerk]
    text = yaml_value({f"{SPACE}/rtc_controller": {"ros__parameters": values}})
    out = [(f"{SPACE}/rtc_controller/parameters", BEGIN, TYPES["std_msgs/msg/String"](text))]
    number, due = 0, BEGIN
    fields = [f for f in FIELDS if marked or f not in FIELDS[-3:]]
    for tick, (epoch, command) in enumerate(made):
        at = BEGIN + (tick + 1) * NS
        if command is None:
            continue
        sent = command.points if command.sends else ()
        played = command.played
        chunk = played.chunk
        name = (0, 1, 1) if chunk is None else (chunk.origin_step, *chunk.name)
        source = [played.step, played.tick, played.row, *name, epoch, 0, 0.0, command.mode,
                  len(sent), (points - len(sent)) % points, 50.0]  # fmt: skip
        position = [*command.row, *map(float, source[: len(fields)])]
        message = joint_state(at, [*JOINTS, *fields], position, position, command.reason)
        out.append((f"{SPACE}/rtc_controller/executed", at, message))
        for i, (a, b, c) in enumerate(sent):
            # The recorder has each up to 3 ms later: the last ones after the next tick.
            due = max(due + 1, at + (i + 1) * NS // points + int(chance.uniform(0, 3e6)))
            array = TYPES["std_msgs/msg/MultiArrayLayout"]([], 0)
            if number not in lost:
                message = TYPES["std_msgs/msg/Float64MultiArray"](array, np.array([c, a]))
                out.append((ARM, due, message))
            out.append((at_topic, due, joint_state(at, ["b"], [b])))
            number += 1
    return write_bag(folder, sorted(out, key=lambda m: m[1]))


def truth(made, points, order):
    """The largest joint's difference in time of all that was sent."""
    values = np.concatenate([c.points for _, c in made if c is not None and c.sends])
    return np.abs(np.diff(values, order, axis=0)).max() * (points / DT) ** order


@pytest.mark.parametrize("jerk", [None, 400.0])
@pytest.mark.parametrize("points", [1, 5, 10])
def test_what_was_sent_is_as_smooth_as_the_controller_made_it(tmp_path, points, jerk):
    made = told(points, jerk=jerk)
    log = read_sent(recorded(tmp_path / "bag", made, points, jerk=jerk))
    sent = log.figures
    assert log.unknown == () and (sent.points, sent.lost, sent.unsent) == (points, 0, 0)
    assert sent.rate_hz == pytest.approx(points / DT)
    assert (sent.rows, sent.messages) == (2 * 400, 2 * 400 * points)
    assert sent.acceleration.max == pytest.approx(truth(made, points, 2))
    assert sent.jerk.max == pytest.approx(truth(made, points, 3))
    assert sent.acceleration.max <= 8.0 * (1 + 1e-6), "in time, not per row"
    ratios = (sent.above_rms / sent.rows_above_rms, sent.jerk.max / sent.rows_jerk.max)
    if points == 1:
        assert ratios == pytest.approx((1.0, 1.0))
    else:
        assert max(ratios) < 1.6 / points


def test_the_steps_of_one_message_per_row_lie_above_what_rows_can_say(tmp_path):
    """A staircase of steps v Δt has v Δt / √12 beside its line, all in multiples of 50 Hz."""
    made = told(1)
    sent = read_sent(recorded(tmp_path / "bag", made, 1)).figures
    steps = np.diff([command.row for _, command in made], axis=0)
    assert sent.above_rms == pytest.approx(np.sqrt((steps**2).mean() / 12), rel=0.25)
    hz = np.array(sent.spectrum.frequency_hz)
    assert hz[0] < 1.0 and hz[-1] > 450 and (np.diff(hz) > 0).all()


@pytest.mark.parametrize("jerk", [None, 400.0])
def test_messages_that_were_not_recorded_are_no_jump(tmp_path, jerk):
    made = told(jerk=jerk, rests=range(150, 200))
    lost = {*range(40, 43), 333, 700}
    sent = read_sent(recorded(tmp_path / "bag", made, lost=lost, jerk=jerk)).figures
    whole = read_sent(recorded(tmp_path / "whole", made, jerk=jerk)).figures
    assert whole.lost == 0 and whole.rows == sent.rows + sent.lost
    assert 3 <= sent.lost <= (8 if jerk is None else whole.rows / 2)
    assert sent.acceleration.max <= whole.acceleration.max * (1 + 1e-9)
    judged = examine(tmp_path / "bag")
    assert any("not all that was sent was recorded" in note for note in judged.report.notes)


def test_a_driver_that_was_not_sent_the_rest_of_a_period_stood_meanwhile(tmp_path):
    """In time that is a stop at once: no set point is beyond a limit, what is in between is."""
    made = told(cut_at=100)
    sent = read_sent(recorded(tmp_path / "bag", made)).figures
    assert (sent.unsent, sent.lost, sent.rows) == (2, 0, 800)
    step = np.abs(np.diff(made[100][1].points, axis=0)[-1]).max()
    assert sent.acceleration.max == pytest.approx(step * 250**2)
    assert step * 250**2 > 20, "of a limit of 8"


def test_rows_and_the_curve_between_them_are_told_around_a_tick(tmp_path):
    """The picture has each row at its tick; the set points before it lead there."""
    made = told()
    log = read_sent(recorded(tmp_path / "bag", made), around_ns=[BEGIN + 201 * NS], ticks=3)
    (curve,) = log.curves  # around tick 200
    np.testing.assert_allclose(np.diff(curve.offset), 0.2, atol=1e-9)
    rows = np.array([made[tick][1].row for tick in range(197, 204)])
    at = np.isclose(curve.offset % 1.0, 0.0) | np.isclose(curve.offset % 1.0, 1.0)
    np.testing.assert_allclose(curve.offset[at], np.arange(-3, 4), atol=1e-9)
    np.testing.assert_array_equal(curve.value[at], rows)
    np.testing.assert_array_equal(
        curve.value, np.concatenate([made[tick][1].points for tick in range(197, 204)])
    )
    rows_alone = recorded(tmp_path / "rows", told(1), 1)
    assert read_sent(rows_alone, around_ns=[BEGIN + 201 * NS]).curves == (None,)


def test_the_picture_of_a_seam_shows_rows_and_curve(tmp_path):
    bag = recorded(tmp_path / "bag", told(swap_at=200))
    judged = examine(bag)
    (closeup,) = judged.evidence.closeups
    assert closeup.seam.step == 200 and closeup.curve is not None
    at_rows = np.isclose(closeup.curve.offset, np.round(closeup.curve.offset))
    for offset, row in zip(closeup.offset, closeup.command, strict=True):
        place = np.isclose(closeup.curve.offset, offset) & at_rows
        np.testing.assert_array_equal(closeup.curve.value[place][0], row)
    assert len(closeup.curve.offset) >= 5 * 2 * 11
    draw_report(judged.report, judged.evidence, "a run", tmp_path / "seam.png")
    assert (tmp_path / "seam.png").stat().st_size > 10_000


def test_a_recording_of_before_says_nothing_of_it(tmp_path):
    made = told(1)
    bag = recorded(tmp_path / "old", made, 1, marked=False)
    assert read_sent(bag) == SentLog()
    report = examine(bag).report
    assert report.sent is None and not any("sent" in name for name, _, _ in facts(report))


def test_the_report_has_figures_and_a_panel(tmp_path, capsys):
    bag = recorded(tmp_path / "bag", told())
    rows = recorded(tmp_path / "rows", told(1), 1)
    files = ["--out", str(tmp_path / "out")]
    assert main([str(bag), *files]) == 0
    found = json.loads((tmp_path / "out" / "continuity.json").read_text())["sent"]
    assert found["points"] == 5 and len(found["spectrum"]["sent"]) > 50
    assert main([str(bag), "--max-sent-acceleration", "8.01"]) == 0
    assert main([str(bag), "--max-sent-jerk", "10"]) == 1
    assert "largest jerk sent" in capsys.readouterr().out
    assert main([str(bag), str(rows), "--html", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "250, 5, 0" in said and "50, 1, 0" in said
    page = (tmp_path / "page.html").read_text()
    assert "What drivers were sent" in page and page.count("spectrum of what was sent") == 2


@pytest.mark.parametrize(
    ("named", "topic"), [(HAND, HAND), ("~/hand", f"{SPACE}/rtc_controller/hand")]
)
def test_a_driver_is_found_however_its_topic_is_named(tmp_path, named, topic):
    made = told(ticks=60)
    relative = read_sent(recorded(tmp_path / "relative", made))
    other = read_sent(recorded(tmp_path / "other", made, hand=named, at_topic=topic))
    assert other.unknown == () and other.figures == relative.figures
