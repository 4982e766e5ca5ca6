"""Both halves of Algorithm 1 on two simulated machines: each step in its place, or none."""

import dataclasses

import numpy as np
import pytest
from two_machines import (
    HORIZON,
    PERIOD_S,
    SPEC,
    Clock,
    Network,
    TwoMachines,
    no_wall,
    sine,
)

from rtc_ros.core.settings import RtcSettings
from rtc_ros.handoff.cursor import StepCursor
from rtc_ros.handoff.ring import ChunkRing
from rtc_ros.link.envelope import unpack
from rtc_ros.link.peer import Identity
from rtc_ros.link.side import GPU, Side

HOUR_S = 3600.0


def exact(two):
    assert two.wrong == []
    steps = two.steps()
    assert steps == list(range(steps[0], steps[0] + len(steps)))


@pytest.mark.parametrize("one_way_s", [0.0, 0.01, 0.03, 0.08])
@pytest.mark.parametrize("bad", [0.0, 0.05])
def test_a_network_only_makes_d_larger(folder, one_way_s, bad):
    ways = [
        Network(one_way_s, one_way_s / 2 if bad else 0.0, loss=bad, twice=bad, torn=bad, seed=i)
        for i in range(2)
    ]
    two = TwoMachines(folder, *ways, settings=RtcSettings(s_min=10))
    two.run(20.0)
    exact(two)
    assert len(two.steps()) > 900 and two.starved() <= (0 if not bad else 40)
    shortest_s = one_way_s / 2 if bad else one_way_s
    least = int((0.05 + 2 * shortest_s) / PERIOD_S)
    assert min(two.delays) >= least
    if not bad:
        assert max(two.delays) <= least + 2
    counts = two.robot.side.peer.counts
    assert bool(counts["torn"]) == bool(bad)
    assert bool(counts["lost"]) == bool(bad)
    assert two.gpu.side.problem(two.gpu.clock.ns(two.now_s)) == ""


@pytest.mark.parametrize("ahead_s", [30 * HOUR_S, -2 * HOUR_S])
def test_clocks_that_differ_by_hours_and_drift_change_nothing(folder, ahead_s):
    runs = []
    for i, clocks in enumerate(
        ((Clock(1e6), Clock(1e6)), (Clock(1e6, 200), Clock(1e6 + ahead_s, -200)))
    ):
        (folder / str(i)).mkdir()
        ways = [Network(0.03, 0.01, loss=0.02, seed=j) for j in range(2)]
        two = TwoMachines(folder / str(i), *ways, *clocks)
        two.run(10.0)
        exact(two)
        runs.append(two)
    assert [two.starved() for two in runs] == [0, 0]
    # Beats drift with the clocks, so losses meet other messages; on average nothing changes.
    means = [sum(two.delays) / len(two.delays) for two in runs]
    assert abs(means[0] - means[1]) < 1.0


def test_stamps_are_of_the_machine_that_reads_them(folder):
    clocks = Clock(1e6, 200), Clock(1e6 + 5 * HOUR_S, -200)
    two = TwoMachines(folder, Network(0.01), Network(0.01, seed=1), *clocks)
    two.run(5.0)
    chunk = two.ring_reader.read_newest()
    now_ns = two.robot.clock.ns(two.now_s)
    assert 0 <= now_ns - chunk.end_ns < 0.4e9
    assert chunk.end_ns - chunk.start_ns == pytest.approx(0.05e9, abs=2e6)
    state = two.cursor_reader.read()
    age_s = (two.gpu.clock.ns(two.now_s) - state.tick_ns) * 1e-9
    error_s = two.gpu.side.clock.error_ns(two.gpu.clock.ns(two.now_s)) * 1e-9
    assert 0.01 - error_s <= age_s <= 0.01 + PERIOD_S + 0.003 + error_s
    assert error_s < 0.02


def test_what_arrives_is_what_was_written(folder):
    two = TwoMachines(folder, Network(0.01), Network(0.01, seed=1))
    two.run(3.0)
    there, here = two.ring.inherited, two.ring_reader.read_newest()
    assert there is None
    wrote = ChunkRing.attach("two.ring", SPEC, directory=str(two.gpu.folder)).recent()
    same = next(c for c in wrote if c.name == here.name)
    stamps = {"observation_ns", "start_ns", "end_ns", "actions"}
    assert np.array_equal(same.actions, here.actions)
    for field in dataclasses.fields(here):
        if field.name not in stamps:
            assert getattr(same, field.name) == getattr(here, field.name), field.name
    state = StepCursor.attach("two.cursor", SPEC, directory=str(two.gpu.folder)).read()
    mine = StepCursor.attach("two.cursor", SPEC, directory=str(two.robot.folder)).read()
    assert state.epoch == mine.epoch and mine.step - 2 <= state.step <= mine.step


@pytest.mark.parametrize("which", ["there", "back", "both"])
def test_a_cut_starves_is_named_and_heals(folder, which):
    two = TwoMachines(folder, Network(0.01), Network(0.01, seed=1))
    two.run(3.0)
    cut = [two.there, two.back] if which == "both" else [getattr(two, which)]
    for way in cut:
        way.cut = True
    two.run(3.0)
    exact(two)
    assert 100 < two.starved() < 150
    robot, gpu = (
        m.side.problem(m.clock.ns(two.now_s)) for m in (two.robot, two.gpu)
    )
    if which == "there":
        assert "GPU machine" in robot and "heard nothing from here for" in robot
    else:
        assert robot.startswith("nothing was heard from the GPU machine (GPU machine gpu, ")
    if which == "back":
        assert "the robot (robot robot, process 1) is heard, but heard nothing" in gpu
    else:
        assert gpu.startswith("nothing was heard from the robot")
    before = len(two.steps())
    for way in cut:
        way.cut = False
    two.run(1.0)
    exact(two)
    assert len(two.steps()) - before > 35  # moves within a third of a second
    assert two.robot.side.problem(two.robot.clock.ns(two.now_s)) == ""


@pytest.mark.parametrize("what", ["robot's link", "gpu's link", "controller", "inference"])
def test_a_killed_process_comes_back_and_every_step_is_in_its_place(folder, what):
    two = TwoMachines(folder, Network(0.02, 0.01), Network(0.02, 0.01, seed=1))
    two.run(3.0)
    epoch = two.controller.state.player.epoch
    if what == "controller":
        two.kill_controller()
        two.run(1.0, controls=False)
        two.start_controller()
        assert two.controller.state.player.epoch != epoch
        two.executed.clear()
    elif what == "inference":
        two.kill_inference()
        two.run(1.0)
        two.start_inference()
    else:
        machine = two.robot if what == "robot's link" else two.gpu
        two.run(1.0, links=({"robot", "gpu"} - {machine.folder.name}).pop())
        machine.restart_link()
    two.run(1.0)
    before = len(two.steps())
    two.run(1.0)
    exact(two)
    assert len(two.steps()) - before == 50


def test_after_a_reboot_no_chunk_of_before_is_handed_over(folder):
    """Not even where the new run of the steps has the old one's number."""
    two = TwoMachines(folder, Network(0.02), Network(0.02, seed=1))
    two.run(3.0)
    two.infers = False  # its last chunk lies there, for a step that the new run will reach
    epoch = two.controller.state.player.epoch
    two.kill_controller()
    two.run(0.7, controls=False, links="gpu")
    for path in two.robot.folder.iterdir():
        path.unlink()
    two.robot.boot += 1
    two.robot.clock = Clock(3.0 - two.now_s)
    two.robot.side.mirror._writer = None
    two.robot.restart_link()
    two.start_controller(epoch)
    two.executed.clear()
    two.offers.clear()
    two.run(2.0)
    assert two.offers == [] and two.steps() == []
    two.infers = True
    two.busy = None
    two.run(0.5)
    assert two.wrong == []


def test_a_chunk_whose_first_message_is_lost_comes_a_tick_later_at_most(folder):
    """Not a round trip later: the second is sent before anybody can know."""
    runs, lost = [], [0]
    for loses in (False, True):
        seen = set()

        def first_is_lost(whom, data, seen=seen, loses=loses):
            message = unpack(data)
            slot = (message.run, message.body)
            if whom == "robot" and message.body and slot not in seen:
                seen.add(slot)
                lost[0] += loses
                return data[:-1] if loses else data  # torn
            return data

        (folder / str(loses)).mkdir()
        two = TwoMachines(folder / str(loses), Network(0.08), Network(0.08, seed=1))
        two.outgoing.append(first_is_lost)
        two.run(8.0)
        exact(two)
        runs.append(max(two.delays[2:]))
    assert lost[0] > 10
    assert runs[1] <= runs[0] + 1


@pytest.mark.parametrize(("beat_s", "least", "most"), [(0.01, 90, 110), (0.2, 4, 8)])
def test_without_news_a_message_goes_out_as_often_as_asked(folder, beat_s, least, most):
    own = Identity("r1", "alone", 1, 1)
    side = Side(GPU, own, "two", SPEC, str(folder), beat_ns=round(beat_s * 1e9))
    times = [ms for ms in range(1, 1001) if side.message(ms * 10**6 + 10**12, no_wall)]
    assert least <= len(times) <= most


def test_a_torn_message_is_counted_and_said_and_changes_nothing(folder):
    two = TwoMachines(folder)
    two.run(1.0)
    side = two.gpu.side
    data = two.robot.side.message(two.robot.clock.ns(two.now_s + 1.0), no_wall)
    before = side.peer.number
    places = range(0, len(data), 37)
    for at in places:
        assert side.take(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 1) is None
        assert side.take(data[:at], 1) is None
    assert side.peer.number == before and side.peer.counts["torn"] == 2 * len(places)
    assert "digest" in side.torn or "no message" in side.torn


def test_a_local_writer_is_not_pushed_aside(folder):
    """rtc_inference was started on the robot as well."""
    spec = dataclasses.replace(SPEC, horizon=HORIZON)
    (folder / "robot").mkdir()
    with ChunkRing.create("two.ring", spec, directory=str(folder / "robot")):
        two = TwoMachines(folder)
        two.run(1.0)
        problem = two.robot.side.problem(two.robot.clock.ns(two.now_s))
        assert "two.ring has a writer already" in problem
    two.run(1.0)
    exact(two)
    assert two.steps()


def test_other_joints_are_refused_by_name(folder):
    two = TwoMachines(folder)
    two.robot.side.mirror.spec = dataclasses.replace(SPEC, joint_names=("a", "c"))
    two.run(1.0)
    problem = two.robot.side.problem(two.robot.clock.ns(two.now_s))
    assert "[a, b] there and [a, c] here" in problem and "one parameter file" in problem
    assert two.steps() == []


def test_a_policy_with_another_horizon_may_take_over(folder):
    two = TwoMachines(folder)
    two.run(1.0)
    two.kill_inference()
    spec = dataclasses.replace(SPEC, horizon=HORIZON + 5)
    two.ring = ChunkRing.create("two.ring", spec, directory=str(two.gpu.folder))
    from rtc_ros.core.chunk import ActionChunk

    state = two.cursor_reader.read()
    rows = sine(state.step + np.arange(HORIZON + 5))
    two.ring.write(ActionChunk(rows, state.step, step_epoch=state.epoch))
    two.run(0.3)
    assert two.ring_reader.spec.horizon == HORIZON + 5
    assert two.controller.state.player.current.horizon == HORIZON + 5
    exact(two)


def test_the_inference_s_word_that_it_could_make_a_chunk_ages_with_the_link(folder):
    two = TwoMachines(folder)
    two.ring.say_ready(two.gpu.clock.ns(0.5))
    two.run(1.0)
    ready_s = (two.ring_reader.ready_ns - two.robot.clock.ns(0.5)) * 1e-9
    assert abs(ready_s) < 0.01
    two.back.cut = True
    before = two.ring_reader.ready_ns
    two.ring.say_ready(two.gpu.clock.ns(1.5))
    two.run(1.0)
    assert two.ring_reader.ready_ns == before


def test_what_the_inference_lacks_is_known_on_the_robot_s_machine(folder):
    two = TwoMachines(folder)
    two.ring.say_hindrance("no image yet from camera höhe on cam/höhe")
    two.run(1.0)
    assert two.ring_reader.hindrance == "no image yet from camera höhe on cam/höhe"
    two.ring.say_hindrance("")
    two.run(1.0)
    assert two.ring_reader.hindrance == ""


def test_an_inference_that_leaves_is_known_to_have_left(folder):
    two = TwoMachines(folder)
    two.run(1.0)
    assert not two.ring_reader.writer_left
    two.infers = False
    two.ring.close()
    two.run(0.3)
    assert two.ring_reader.writer_left
