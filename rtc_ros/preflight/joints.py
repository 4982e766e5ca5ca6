"""Joint states of the running robot: present, fresh, from one source each, in plausible units."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from rtc_ros.bags.joint_positions import WHOLE, read_positions
from rtc_ros.policy.state_spread import StateSpread
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.probe import Heard, Probe, full_name, news
from rtc_ros.preflight.setup import Setup
from rtc_ros.spelling import few

_FUTURE_S, _OLD_S = 0.1, 0.5
_TYPE = "sensor_msgs/msg/JointState"


def check_topics(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that each joint-state topic is alive, often enough and stamped by our clock."""
    timeout_s = setup.controller["joint_state_timeout"]
    for topic in setup.state_topics:
        subject, heard = f"joint states on {topic}", probe.heard.get(topic, [])
        if not heard:
            yield bad(subject, silence(probe, topic), "start the driver; or joint_state_topics")
            continue
        times = news(heard)
        gap_s, rate = probe.gap_s(times), len(heard) / probe.seconds
        if gap_s > timeout_s:
            repeats = " (messages that repeat a stamp are no news)" * (len(times) < len(heard))
            yield gap(
                subject,
                f"nothing for {gap_s:.2f} s, and joint_state_timeout is {timeout_s:g} s{repeats}",
                "look at the driver and the network; or a larger joint_state_timeout",
                blames_load=not repeats,
            )
        elif rate < 1.0 / setup.period_s:
            yield doubt(
                subject,
                f"{rate:.0f} messages a second, fewer than one a control period "
                f"({1 / setup.period_s:.0f} Hz)",
                "raise the driver's state rate",
            )
        else:
            yield good(subject, f"{rate:.0f} Hz, never more than {gap_s * 1e3:.0f} ms apart")
        yield from stamps(f"stamps on {topic}", heard)


def silence(probe: Probe, topic: str, kind: str = _TYPE) -> str:
    """Say why nothing was heard on a topic."""
    publishers = probe.publishers(topic)
    if not publishers:
        return "nobody publishes it"
    types = sorted({p.topic_type for p in publishers})
    names = ", ".join(sorted({full_name(p) for p in publishers}))
    if kind not in types:
        return f"{names} publishes {', '.join(types)} there, not {kind}"
    return f"{names} is there but sent nothing for {probe.seconds:.1f} s"


def stamps(subject: str, heard: list[Heard]) -> Iterator[Finding]:
    """Check that the headers' stamps go with the ROS clock."""
    if not any(h.stamp_ns for h in heard):
        yield doubt(
            subject,
            "the header stamps are 0",
            "let the driver stamp its messages: a recording can't tell its age otherwise",
        )
        return
    ages = np.array([h.age_s for h in heard])
    fix = "set the same clock on every machine (chrony), or use_sim_time on every node"
    if np.median(ages) < -_FUTURE_S:
        yield bad(subject, f"they are {-np.median(ages):.3g} s ahead of this clock", fix)
    elif np.median(ages) > _OLD_S:
        said = f"they are {np.median(ages):.3g} s behind this clock"
        if load := busy():
            said += f", and {load}: they may only have waited for it"
            fix = f"end what else runs here, then look again; if it stays: {fix}"
        yield bad(subject, said, fix)
    elif np.diff([h.stamp_ns for h in heard]).min(initial=0) < 0:
        yield doubt(subject, "they go back in time: two sources, or a clock that jumps", fix)
    else:
        yield good(subject, f"{np.median(ages) * 1e3:.0f} ms old on arrival")


def gap(subject: str, sentence: str, fix: str, *, blames_load: bool) -> Finding:
    """Return a ✗ of messages that stayed out; a busy machine is named before them."""
    if blames_load and (load := busy()):
        sentence, fix = f"{sentence}; {load}", f"end what else runs here; {fix}"
    return bad(subject, sentence, fix)


def busy() -> str:
    """Say how busy this machine is; "" where it has a core for whoever wants one."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"this machine is busy (load {load:.1f} on {cores} cores)" if load > cores else ""


def check_names(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that each joint is there, finite, often enough, and from one publisher only."""
    heard: dict[str, list[Heard]] = defaultdict(list)
    finite: dict[str, list[Heard]] = defaultdict(list)
    faults: dict[str, str] = {}
    for h, joint, position, fault in _states(setup, probe):
        heard[joint].append(h)
        if np.isfinite(position):
            finite[joint].append(h)
        elif fault:
            faults.setdefault(joint, fault)
    if not heard:
        return  # silent topics, which is said of each
    subject = "joint names"
    fix = "make `joints` the names of `ros2 topic echo --once`, after joint_state_prefixes"
    wanted = tuple(dict.fromkeys((*setup.joints, *setup.units.state.joints)))
    missing = [joint for joint in wanted if joint not in heard]
    others = sorted(set(heard) - set(wanted) - {""})
    if missing:
        there = f"; there are also {', '.join(others[:8])}" if others else ""
        there += f"; {faults['']}" if "" in faults else ""
        yield bad(subject, f"no state of {few(missing)}{there}", fix)
    else:
        yield good(subject, f"all {len(wanted)} joints are there")
        if "" in faults:
            yield doubt("joint positions", faults[""], "look at who else publishes there")
    odd = [j for j in wanted if j in faults]
    if odd:
        yield bad(
            "joint positions",
            f"those of {few(odd)} can't be used: {faults[odd[0]]}",
            "look at the driver: each joint once, with one finite position",
        )
    twice = {j: len({h.publisher for h in heard[j]}) for j in wanted}
    if several := [j for j in wanted if twice[j] > 1]:
        yield bad(
            "joint state sources",
            f"{few(several)} come from {twice[several[0]]} publishers at once",
            "stop one (a simulation beside the robot, a second joint_state_broadcaster); or, if "
            "both arms call their joints the same, joint_state_prefixes",
        )
    yield from _slow_joints(setup, probe, {j: finite[j] for j in wanted if finite[j]})


def _slow_joints(
    setup: Setup, probe: Probe, heard: dict[str, list[Heard]]
) -> Iterator[Finding]:
    """Name the joints that come more seldom than others do, or than the messages that have any."""
    timeout_s = setup.controller["joint_state_timeout"]
    gaps = {joint: probe.gap_s(news(there)) for joint, there in heard.items()}
    rates = {joint: len(news(there)) / probe.seconds for joint, there in heard.items()}
    # Where none is often enough, that is the topic's fault, and it was said there.
    late = [j for j in heard if gaps[j] > timeout_s >= min(gaps.values())]
    if late:
        worst = max(late, key=lambda j: gaps[j])
        yield bad(
            "joint state rates",
            f"{few(late)} {'come' if len(late) > 1 else 'comes'} {rates[worst]:.1f} times a "
            f"second, up to {gaps[worst]:.2f} s apart, beside others at "
            f"{max(rates.values()):.0f} Hz; joint_state_timeout is {timeout_s:g} s",
            "let the driver send these joints as often as the others; or a larger "
            "joint_state_timeout, for all of them",
        )
    slow = [j for j in heard if j not in late and rates[j] < 0.5 * max(rates.values())]
    if slow := [j for j in slow if rates[j] < 1.0 / setup.period_s]:
        yield doubt(
            "joint state rates",
            f"{few(slow)} {'come' if len(slow) > 1 else 'comes'} {rates[slow[0]]:.1f} times a "
            f"second, fewer than once a control period, beside others at "
            f"{max(rates.values()):.0f} Hz",
            "let the driver send these joints as often as the others",
        )


def _states(setup: Setup, probe: Probe) -> Iterator[tuple[Heard, str, float, str]]:
    """Yield message, joint, position and fault of all heard, in the order of time by topic.

    The position is NaN where the message has none that could be used (``read_positions``), the
    joint "" where the message names none.
    """
    for topic in setup.state_topics:
        for h in probe.heard.get(topic, []):
            names = [setup.prefixes[topic] + name for name in h.message.name]
            told = np.asarray(h.message.position, dtype=np.float64)
            if not len(told):
                continue
            read = read_positions(names, told[None])
            whole = read.faults.get(WHOLE, "")
            found = zip(read.joints, read.positions[0].tolist(), strict=True)
            for joint, position in found if names else [("", np.nan)]:
                yield h, joint, position, read.faults.get(joint, whole)


def pose(setup: Setup, probe: Probe, joints: Sequence[str]) -> np.ndarray | None:
    """Return the newest position of each of ``joints`` [A] that could be used, as the nodes do.

    None where one has none.
    """
    found = {j: position for _, j, position, _ in _states(setup, probe) if np.isfinite(position)}
    if not all(joint in found for joint in joints):
        return None
    return np.array([found[joint] for joint in joints])


def check_units(setup: Setup, probe: Probe, spread: StateSpread | None) -> Iterator[Finding]:
    """Check that the pose, in the policy's units, is like those of the training data."""
    units, subject = setup.units.state, "pose against the training data"
    at = pose(setup, probe, units.joints)
    if at is None:
        return
    if spread is None or len(spread.middle) != len(units.joints):
        if spread is None:
            yield doubt(
                subject,
                "the checkpoint doesn't say where its states lay",
                "compare the pose with the data set's by hand",
            )
        return
    state = units.to_policy(at)
    odd = spread.misfit(state, units.joints)
    if odd is not None:
        sure = odd.units or odd.order or odd.blinding
        yield (bad if sure else doubt)(subject, odd.sentence, odd.fix)
        return
    z = spread.z(state)
    worst = int(np.argmax(z))
    yield good(
        subject,
        f"every joint within {max(z[worst], 0.1):.1f} standard deviations ({units.joints[worst]})",
    )
