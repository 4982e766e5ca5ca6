"""Who is believed: one process of the other machine at a time, by name, and nobody else."""

import dataclasses

import pytest
from two_machines import Machine, Network, TwoMachines, no_wall

from rtc_ros.link.envelope import EnvelopeError, unpack
from rtc_ros.link.peer import Identity
from rtc_ros.link.side import GPU, ROBOT


def hand_over(two, machine, to, seconds=1.0):
    """Let one more machine speak, and hear what the others say to ``to``'s peer."""
    end = two.now_s + seconds
    while two.now_s < end:
        data = machine.side.message(machine.clock.ns(two.now_s), no_wall)
        if data is not None:
            to.side.take(data, to.clock.ns(two.now_s))
        two.run(0.005)


def test_another_robots_link_is_refused_by_name(folder):
    two = TwoMachines(folder, Network(0.01), Network(0.01, seed=1))
    two.run(1.0)
    stranger = Machine(folder / "other", ROBOT, two.robot.clock, robot="r2")
    before = two.gpu.side.mirror.seq
    hand_over(two, stranger, two.gpu)
    peer = two.gpu.side.peer
    assert peer.counts["refused: other robots"] > 10
    assert "robot other, process 1 is of robot r2 and this one of robot r1" in peer.refused
    assert two.gpu.side.mirror.seq > before and two.wrong == [] and two.starved() == 0


@pytest.mark.parametrize("role", [ROBOT, GPU])
def test_a_second_sender_for_one_machine_is_refused_while_the_first_speaks(folder, role):
    two = TwoMachines(folder, Network(0.01), Network(0.01, seed=1))
    two.run(1.0)
    to = two.gpu if role is ROBOT else two.robot
    second = Machine(folder / "second", role, two.robot.clock)
    hand_over(two, second, to)
    peer = to.side.peer
    assert peer.counts["refused: second senders"] > 10
    assert f"{role.here} second, process 1 speaks for the {role.here}" in peer.refused
    assert "process 1, who was here first" in peer.refused
    assert two.wrong == [] and two.starved() == 0


def test_an_old_run_that_wakes_up_is_refused(folder):
    two = TwoMachines(folder, Network(0.01), Network(0.01, seed=1))
    two.run(1.0)
    old = two.gpu.side
    two.run(1.0, links="robot")
    two.gpu.side.mirror._writer._lock.release()
    two.gpu.side.mirror._writer = None
    two.gpu.restart_link()
    two.run(1.0)
    old._sent_ns = 0
    data = old.message(two.gpu.clock.ns(two.now_s), no_wall)
    assert two.robot.side.take(data, two.robot.clock.ns(two.now_s)) is None
    peer = two.robot.side.peer
    assert peer.counts["refused: earlier runs"] == 1
    assert "process 1 was replaced by GPU machine gpu, process 2" in peer.refused
    # And what was meant for a process that is gone is for nobody.
    stale = dataclasses.replace(unpack(data), to=12345, session=99)
    two.robot.side.take(stale.pack(), two.robot.clock.ns(two.now_s))
    assert peer.counts["refused: addressed to others"] >= 1
    assert two.wrong == []


def test_each_message_is_taken_once_and_in_order(folder):
    two = TwoMachines(folder)
    kept = []
    two.outgoing.append(lambda whom, data: kept.append((whom, data)) or data)
    two.run(1.0)
    side, seq = two.gpu.side, two.gpu.side.mirror.seq
    for whom, data in kept:
        if whom == "gpu":
            assert side.take(data, two.gpu.clock.ns(two.now_s)) is None
    assert side.mirror.seq == seq
    assert side.peer.counts["late or twice"] >= 50


def test_a_message_is_whole_or_refused_with_a_reason(folder):
    two = TwoMachines(folder)
    two.run(0.2)
    two.robot.side._sent_ns = 0
    data = two.robot.side.message(two.robot.clock.ns(1.0), no_wall)
    assert unpack(data).pack() == data
    for broken, reason in (
        (b"", "0 bytes that are no message"),
        (b"nonsense" * 100, "no message of an rtc_link"),
        (data[:-1], "torn"),
        (data + b"x", "torn"),
    ):
        with pytest.raises(EnvelopeError, match=reason):
            unpack(broken)


def test_a_robots_name_fits(folder):
    assert Identity.here("r1").session != Identity.here("r1").session
    for name in ("", "x" * 65, "a\0b"):
        with pytest.raises(ValueError, match="can't be a robot's name"):
            Identity.here(name)
