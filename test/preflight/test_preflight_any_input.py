"""Whatever robots send, preflight ends with findings; and how those are shown."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from sensor_msgs.msg import CompressedImage, Image, JointState

from rtc_ros.bringup import config_file
from rtc_ros.core.limits import JointLimits
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.policy.state_spread import StateSpread
from rtc_ros.preflight import cameras, checkpoint, commands, joints, limits, timing
from rtc_ros.preflight.findings import Level, bad, doubt, exit_code, good, show, verdict
from rtc_ros.preflight.probe import Heard, Probe
from rtc_ros.preflight.setup import Camera, Group, read_setup
from rtc_ros.ros.joint_units import JointUnits, PolicyUnits
from rtc_ros.tools import preflight

pytestmark = pytest.mark.ros

NAMES = ("a", "b")
SPEC = PolicySpec(20, 2, 2, 4, {"observation.images.top": (48, 64)}, pads_images=True)
SPREAD = StateSpread(np.zeros(2), np.ones(2))
NUMBERS = st.floats(width=64)  # infinite and not a number, too
SECONDS = 3


def setup_of(compressed: bool, period_s: float = 0.02) -> SimpleNamespace:
    """Return as much of a Setup as the checks of messages look at."""
    units = JointUnits(NAMES, np.ones(2), np.zeros(2))
    return SimpleNamespace(
        joints=NAMES,
        units=PolicyUnits(units, units),
        prefixes={"/joint_states": ""},
        state_topics=("/joint_states",),
        period_s=period_s,
        cameras=(Camera("top", "/top", "observation.images.top", compressed),),
        controller={"joint_state_timeout": 0.5},
        inference={"camera_timeout": 0.5, "device": "cpu", "torch_threads": 0},
    )


def probe_of(heard: dict) -> Probe:
    """Return a Probe that heard this and never saw ROS."""
    probe = Probe.__new__(Probe)
    probe.heard, probe.begun_ns, probe.ended_ns = heard, 10**12, 10**12 + SECONDS * 10**9
    probe.publishers = lambda topic: []
    return probe


def heard_of(messages, draw) -> list[Heard]:
    times = sorted(draw(st.integers(0, SECONDS * 10**9)) for _ in messages)
    made = []
    for message, time_ns in zip(messages, times, strict=True):
        stamp = draw(st.integers(-(2**31), 2**31 - 1))
        message.header.stamp.sec = stamp
        age_s = draw(st.floats(-1e12, 1e12))
        source = draw(st.sampled_from([b"one", b"two", b""]))
        made.append(Heard(10**12 + time_ns, stamp * 10**9, age_s, source, message))
    return made


@st.composite
def states(draw, joints=("a", "b", "c")):
    names = draw(st.lists(st.sampled_from([*joints, "", "ä\n"]), max_size=5))
    return JointState(name=names, position=draw(st.lists(NUMBERS, max_size=5)))


@st.composite
def images(draw, compressed):
    data = draw(st.binary(max_size=300))
    if compressed:
        said = draw(st.text("jpegn;16UCcompsdDh24 \n", max_size=20))
        return CompressedImage(format=said, data=data)
    sizes = st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1))
    return Image(
        height=draw(sizes),
        width=draw(sizes),
        step=draw(sizes),
        is_bigendian=draw(st.integers(0, 255)),
        encoding=draw(st.sampled_from(["rgb8", "mono16", "yuyv", "nv12", "16UC1", "", "x\ny"])),
        data=data,
    )


@given(st.data(), st.booleans())
def test_any_messages_end_in_findings(data, compressed):
    draw = data.draw
    setup = setup_of(compressed)
    probe = probe_of(
        {
            "/joint_states": heard_of(draw(st.lists(states(), max_size=6)), draw),
            "/top": heard_of(draw(st.lists(images(compressed), max_size=4)), draw),
        }
    )
    found = [
        *joints.check_topics(setup, probe),
        *joints.check_names(setup, probe),
        *joints.check_units(setup, probe, SPREAD),
        *limits._pose(setup, probe, JointLimits.none(2)),
        *cameras.check_rates(setup, probe),
        *cameras.check_images(setup, probe, SPEC),
    ]
    assert found
    console = Console(width=80, file=io.StringIO())
    show(found, console)
    for finding in found:
        assert finding.sentence and (finding.level is Level.GOOD or finding.fix)


@given(st.dictionaries(
    st.sampled_from(["joints", "interface_name", "interface_names", "command_interfaces",
                     "interpolate_from_desired_state", "allow_partial_joints_goal"]),
    st.one_of(st.none(), st.booleans(), st.integers(), NUMBERS, st.text(max_size=4),
              st.lists(st.text(max_size=4), max_size=3), st.lists(st.integers(), max_size=3)),
))  # fmt: skip
def test_any_parameters_of_a_listener_end_in_findings(parameters):
    group = Group("left", "/left/commands", "float64_multi_array", NAMES)
    assert list(commands._kind(group, "/listener", parameters))


def test_one_joint_is_one_joint():
    group = Group("hand", "/hand/commands", "float64_multi_array", ("a",))
    (finding,) = commands._kind(group, "/listener", {"joints": ["a"]})
    assert finding.sentence == "/listener: takes 1 joint in our order"


@pytest.mark.parametrize(("load", "named"), [(9.1, True), (0.3, False)])
def test_on_a_busy_machine_old_stamps_and_gaps_are_not_the_clock_s_or_the_driver_s_alone(
    monkeypatch, load, named
):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 1.0, 1.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    message = JointState(name=list(NAMES), position=[0.0, 0.0])
    heard = [Heard(10**12 + i * 10**6, i, 0.83, b"one", message) for i in range(1, 9)]
    image = Image(height=48, width=64, step=192, encoding="rgb8", data=bytes(48 * 192))
    seen = [Heard(10**12 + i * 10**6, i, 0.0, b"two", image) for i in range(1, 9)]
    probe = probe_of({"/joint_states": heard, "/top": seen})
    states_gap, states_stamps = joints.check_topics(setup_of(False), probe)
    camera_gap, _ = cameras.check_rates(setup_of(False), probe)
    assert "0.83 s behind this clock" in states_stamps.sentence
    for finding in (states_stamps, states_gap, camera_gap):
        assert finding.level is Level.BAD
        assert ("this machine is busy (load 9.1 on 2 cores)" in finding.sentence) is named
        assert finding.fix.startswith("end what else runs here") is named
    assert "chrony" in states_stamps.fix


@pytest.mark.parametrize("text", ["[]", "3", '{"type": "smolvla", "input_features": 3}', "{"])
def test_any_configuration_of_a_checkpoint_ends_in_a_finding(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    setup = setup_of(False)
    setup.inference["policy_path"] = str(tmp_path)
    (finding,), spec, spread = checkpoint.look_at_checkpoint(setup)
    assert finding.level is Level.BAD and finding.sentence and spec is spread is None


def test_a_check_that_breaks_off_is_a_finding_and_the_others_go_on(monkeypatch):
    def breaks(setup, probe):
        yield good("clock", "fine so far")
        raise ZeroDivisionError("division\nby zero")

    found = list(preflight._guarded("clock", lambda: breaks(None, None)))
    assert [f.level for f in found] == [Level.GOOD, Level.BAD]
    assert found[1].subject == "clock"
    assert "ZeroDivisionError: division by zero" in found[1].sentence


# ------------------------------------------------------------------------------- preflight whole


class Deaf(Probe):
    """A probe on the real middleware that is told what it heard."""

    told: dict

    def collect(self, seconds):
        super().collect(0.0)
        self.begun_ns, self.ended_ns = 10**12, 10**12 + SECONDS * 10**9
        self.heard |= self.told


@pytest.fixture(scope="module")
def whole():
    """The configuration of the simulation, as the nodes have it."""
    with Probe() as probe:
        return read_setup(config_file("sim.yaml"), {}, probe.context)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_messages_go_through_all_of_preflight(whole, data):
    draw = data.draw
    (topic,), (camera,) = whole.state_topics, whole.cameras
    told = {
        topic: heard_of(draw(st.lists(states([*whole.joints, "c"]), max_size=5)), draw),
        camera.topic: heard_of(draw(st.lists(images(camera.compressed), max_size=3)), draw),
    }
    with Deaf() as probe:
        probe.told = told
        found = preflight.examine(whole, probe, seconds=0.0, patience_s=0.0)
    assert len(found) > 10 and exit_code(found) == 2, "nobody listens"
    broken = [f.sentence for f in found if "broke off" in f.sentence]
    assert not broken, "a check that breaks off would have been a traceback"


BASE = Path(config_file("sim.yaml")).read_text()
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NUMBERS, st.text(max_size=6),
              st.sampled_from(["1e-3", "2024-99-99", ".inf", "!!binary x", "/t", "~/x", "0x1F"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3),
                            st.dictionaries(st.text("abc._/*", max_size=4), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip


@st.composite
def parameter_files(draw):
    """Return the text of the simulation's file with some values replaced, or of anything."""
    tree = yaml.safe_load(BASE)
    for _ in range(draw(st.integers(1, 4))):
        values = tree[draw(st.sampled_from(sorted(tree)))]["ros__parameters"]
        name = draw(st.one_of(st.sampled_from(sorted(values)), st.text(max_size=8)))
        values[name] = draw(ANYTHING)
    text = yaml.safe_dump(tree, allow_unicode=True)
    if draw(st.booleans()):
        return text.encode()
    lines = text.splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = draw(st.sampled_from([lines[at][1:], lines[at] + ":", lines[at].strip(), "\t- x"]))
    return draw(st.one_of(st.just("\n".join(lines).encode()), st.binary(max_size=40)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(parameter_files())
@example(b"/**:\n  ros__parameters:\n    joints: 2024-99-99\n")
@example(b"/**:\n  ros__parameters: {joints: [a], cameras: [c], command_groups: [g, g]}\n")
@example(b"? [1, 2]\n: 3\n")
@example(b"\xff\xfe\x00")
def test_any_parameter_file_goes_through_all_of_preflight(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "robot.yaml"
    path.write_bytes(text)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = preflight.main([str(path), "--seconds", "0.01", "--patience", "0"])
    said = " ".join(out.getvalue().split())
    assert code == 2 and "✗" in said, "nobody listens, or the file is no use"
    assert "broke off" not in said and "Traceback" not in said, said


@pytest.mark.parametrize(
    "words",
    [
        ["{}", "--seconds", "0.1", "speed:=3"],
        ["--measure", "{}", "--patience=0.1", "speed:=3"],
        ["{}", "speed:=3", "--measure"],
        ["{}", "task:=fold", "--measure", "speed:=3"],
    ],
)
def test_launch_arguments_may_stand_before_and_behind_options(words, capsys):
    """Behind one they were `unrecognized arguments`."""
    assert preflight.main([word.format(config_file("sim.yaml")) for word in words]) == 2
    assert capsys.readouterr().err.startswith("✗ unknown argument speed")


def test_a_look_at_the_checkpoint_that_breaks_off_is_a_finding_and_the_others_go_on(monkeypatch):
    """Whatever stands in its files: as for each check of what the robot sends."""

    def broken(setup):
        raise KeyError("norm_map")

    monkeypatch.setattr(preflight.checkpoint, "look_at_checkpoint", broken)
    probe = probe_of({})
    for name in ("listen", "settle", "collect"):
        setattr(probe, name, lambda *_: None)
    findings = preflight.examine(setup_of(False), probe)
    assert findings[0].level is Level.BAD and findings[0].subject == "checkpoint"
    assert "broke off: KeyError: 'norm_map'" in findings[0].sentence and findings[0].fix
    others = " ".join(f"{f.subject} {f.sentence}" for f in findings[1:])
    assert "joint states on /joint_states nobody publishes it" in others


# -------------------------------------------------------------------------------- as it is shown


def shown(findings, width=80) -> str:
    console = Console(width=width, file=io.StringIO())
    show(findings, console)
    return console.file.getvalue()


LONG = "/follower_left/forward_position_controller_with_a_name_beyond_eighty_columns/commands"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_in_one_piece_however_narrow_the_terminal(width):
    topics = [LONG, "/left/commands/joint_group", "/left-arm/commands/joint_single"]
    text = shown([bad(f"commands on {t}", f"nobody on {t} listens", f"set {t}") for t in topics],
                 width)  # fmt: skip
    for topic in topics:
        assert text.count(topic) >= 6, "in subject, sentence and fix, twice"
    for line in text.splitlines():
        assert len(line) <= width or any(topic in line for topic in topics), line


def test_what_is_not_good_stands_once_more_at_the_end_the_worst_last():
    findings = [bad("arm", "it is gone", "look"), *[good(f"thing {i}", "fine") for i in range(60)],
                doubt("camera", "it is slow", "faster")]  # fmt: skip
    lines = shown(findings).splitlines()
    assert lines[-1] == verdict(findings) and "60 ✓  1 !  1 ✗: don't start" in lines[-1]
    end = "\n".join(lines[-8:])
    assert end.index("! camera: it is slow") < end.index("✗ arm: it is gone") < end.index("1 ✗:")
    assert "    → look" in end and "✓ thing" not in end
    assert "once more" not in shown([good("thing", "fine")]).lower()


def test_the_exit_code_is_a_failure_for_a_cross_alone():
    fine, odd, wrong = good("a", "b"), doubt("a", "b", "c"), bad("a", "b", "c")
    assert exit_code([]) == exit_code([fine]) == exit_code([fine, odd]) == 0
    # 1 is how Python ends a program that broke off.
    assert exit_code([odd, wrong, fine]) == 2


def test_on_a_busy_cpu_the_threads_of_torch_are_named():
    setup = setup_of(False)
    setup.settings = SimpleNamespace(
        inject_latency_ms=0.0,
        filter_cutoff=0.0,
        problems=lambda horizon, delay, trained_delay: [f"no s_min works for {delay}"],
    )
    (finding,) = timing.check_latency(setup, SPEC, 3.44)
    assert "3440 ms a guided chunk is d = 173: no s_min works" in finding.sentence
    assert finding.level is Level.BAD and "torch_threads: 1" in finding.fix
    for changes in ({"torch_threads": 1}, {"device": "cuda:0"}):
        setup.inference.update(changes)
        (finding,) = timing.check_latency(setup, SPEC, 3.44)
        assert "torch_threads" not in finding.fix and "infer faster" in finding.fix
        setup.inference.update({"torch_threads": 0, "device": "cpu"})


# ------------------------------------------------------------------- shapes of padded pictures


def form_of(spec_size, camera_size, pads=True):
    height, width = camera_size
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width,
                    data=bytes(3 * width * height))  # fmt: skip
    probe = probe_of({"/top": [Heard(10**12, 0, 0.0, b"one", message)]})
    spec = PolicySpec(20, 2, 2, 4, {"observation.images.top": spec_size}, pads_images=pads)
    (finding,) = cameras.check_images(setup_of(False), probe, spec)
    return finding


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (640, 480), (256, 256)])
def test_a_square_in_the_configuration_of_a_policy_that_pads_says_nothing(size):
    """Fine-tunes of a base keep the base's 256 × 256; cropping to it would be wrong."""
    finding = form_of((256, 256), size)
    assert finding.level is Level.GOOD and "crop" not in finding.fix
    assert f"{size[1]} × {size[0]}" in finding.sentence and "pads" in finding.sentence


@pytest.mark.parametrize("pads", [True, False])
def test_a_small_picture_is_compared_with_what_is_known(pads):
    """Of a policy that pads, only what stands in its configuration: a base's 256 × 256 often."""
    finding = form_of((256, 256), (96, 128), pads)
    assert finding.level is Level.DOUBT and finding.fix == "raise the camera's resolution"
    said = "the policy's configuration says" if pads else "the policy was trained on"
    assert finding.sentence == f"128 × 96, and {said} 256 × 256"


def test_another_shape_than_the_data_had_is_a_doubt_and_no_reason_to_crop():
    finding = form_of((480, 640), (720, 1280))
    assert finding.level is Level.DOUBT and "don't crop" in finding.fix
    assert "1280 × 720" in finding.sentence and "640 × 480" in finding.sentence
    assert form_of((480, 640), (960, 1280)).level is Level.GOOD


def test_without_padding_another_shape_is_distorted():
    finding = form_of((96, 96), (480, 640), pads=False)
    assert finding.level is Level.DOUBT and "another shape of picture" in finding.sentence
    assert form_of((96, 96), (192, 192), pads=False).level is Level.GOOD
