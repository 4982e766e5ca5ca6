"""A running pair: its ROS graph against the policy file, and the lifecycle, to and fro."""

import json
import os

import numpy as np
import pytest
from graph_names import allowed, in_graph
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from pair_bench import Bench
from pair_doubles import PAIRS, write_checkpoint
from rcl_interfaces.srv import SetParameters
from rclpy._rclpy_pybind11 import NodeNameNonExistentError
from rclpy.parameter import Parameter

from rtc_ros.bringup import NodeToRun, config_file
from rtc_ros.core.cursor import Mode

pytestmark = [pytest.mark.ros, pytest.mark.slow]
POLICY = config_file("sros2_policy.xml")
ON_DEMAND = {"/clock", "/robot_description", "/rtc_inference/task", "/joint_states"}
"""Subscribed to with use_sim_time, where the parameters lack a limit, where it is published, and
by the monitor until it has heard which joint states there are."""
OTHER_HORIZON = 24


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operations")
    patch = pytest.MonkeyPatch()
    patch.setenv("RTC_ROS_SHM_DIR", str(folder))
    made = Bench("so101", folder)
    codes = {}
    try:
        made.start()
        made.move()
        yield made
    finally:
        codes = made.close()
        patch.undo()
    assert set(codes.values()) == {0}


# -- security -------------------------------------------------------------------------------


def test_the_policy_file_allows_what_the_running_nodes_have_and_no_more(bench):
    bench.processes.start([NodeToRun("rtc_monitor", params_files=(bench.config,))])
    asker = bench.running.drivers[0].node
    rights = allowed(POLICY)
    names = {"rtc_controller", "rtc_inference", "rtc_recorder", "rtc_monitor"}
    bench.client.until(lambda: names <= set(asker.get_node_names()), "all nodes", 60.0)

    def differences():
        found = []
        for node in sorted(names):
            try:
                has = in_graph(asker, node)
            except NodeNameNonExistentError:  # its name was heard of, its endpoints not yet
                found.append((node, "isn't known"))
                continue
            for kind, there in has.items():
                may = rights[node].get(kind, set())
                lacking = sorted(there - may)
                beyond = sorted(may - there - (ON_DEMAND if kind[1] == "subscribe" else set()))
                if lacking or beyond:
                    found.append((node, *kind, {"lacks": lacking, "not there": beyond}))
        return found

    # A node's endpoints become known one by one.
    try:
        bench.client.until(lambda: not differences(), "the graph", 20.0)
    except Exception:
        pytest.fail(f"{POLICY}: {json.dumps(differences(), indent=1)}")
    bench.processes.stop("rtc_monitor")


def test_an_operator_may_ask_for_what_our_nodes_answer_only(bench):
    rights = allowed(POLICY)
    operator = rights["rtc_operator"]
    answered = {
        name for node in rights if node != "rtc_operator"
        for name in rights[node].get(("services", "reply"), set())
    }  # fmt: skip
    assert operator[("services", "request")] <= answered
    assert "/rtc_controller/start" in operator[("services", "request")]
    commands = {v for k, v in bench_commands().items() if k.endswith(".topic")}
    assert not {f"/{c}" for c in commands} & operator[("topics", "publish")]


def bench_commands():
    import yaml

    with open(config_file("so101_pair.yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)["/**/rtc_controller"]["ros__parameters"]


def test_the_shared_memory_is_its_owners_alone(bench):
    segments = [p for p in bench.folder.iterdir() if p.suffix in (".ring", ".cursor", ".lock")]
    assert len([p for p in segments if p.suffix != ".lock"]) == 2
    assert {p.stat().st_mode & 0o777 for p in segments} == {0o600}


# -- lifecycle ------------------------------------------------------------------------------


class Lifecycle:
    def __init__(self, bench):
        self.client = bench.client

    def call(self, kind, name, **fields):
        return self.client._call(kind, f"rtc_inference/{name}", kind.Request(**fields))

    def change(self, transition):
        return self.call(ChangeState, "change_state", transition=Transition(id=transition)).success

    @property
    def state(self):
        return self.call(GetState, "get_state").current_state.id

    def set(self, **values):
        parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        return self.call(SetParameters, "set_parameters", parameters=parameters).results[0]


@pytest.fixture
def lifecycle(bench):
    made = Lifecycle(bench)
    if made.state == State.PRIMARY_STATE_UNCONFIGURED:
        made.set(policy_path=bench.checkpoint)
        assert made.change(Transition.TRANSITION_CONFIGURE)
    if made.state == State.PRIMARY_STATE_INACTIVE:
        assert made.change(Transition.TRANSITION_ACTIVATE)
    return made


def modes(bench, since):
    return [int(dict(zip(m.name, m.position, strict=True))["rtc/mode"])
            for m in bench.executed[since:]]  # fmt: skip


def until_executing(bench):
    since = len(bench.executed)
    bench.client.until(lambda: Mode.RUNNING in modes(bench, since), "motion", 60.0)


def test_a_transition_that_its_state_doesn_t_have_is_refused_and_motion_goes_on(bench, lifecycle):
    until_executing(bench)
    assert not lifecycle.change(Transition.TRANSITION_ACTIVATE), "it is active"
    assert lifecycle.state == State.PRIMARY_STATE_ACTIVE
    since = len(bench.executed)
    bench.client.until(lambda: len(bench.executed) > since + 50, "a second", 60.0)
    assert Mode.RUNNING in modes(bench, since)
    until_executing(bench)


def test_to_and_fro_with_another_checkpoint_while_the_controller_runs(bench, lifecycle, tmp_path):
    until_executing(bench)
    epoch = bench.executed[-1].position[bench.executed[-1].name.index("rtc/step_epoch")]
    assert "unconfigured" in lifecycle.set(policy_path="/other").reason
    assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
    bench.client.until(lambda: modes(bench, 0)[-1] == Mode.STARVED, "a hold", 30.0)
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)
    # Braked to rest, and then not one more change.
    bench.client.until(
        lambda: np.ptp([m.position for m in bench.executed[-10:]], axis=0)[:12].max() == 0,
        "an arm at rest", 30.0,
    )  # fmt: skip
    held = dict(bench.body.command)
    other = write_checkpoint(PAIRS["so101"], tmp_path / "other", horizon=OTHER_HORIZON, seed=1)
    assert lifecycle.set(policy_path=str(other)).successful
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert bench.body.command == held
    assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
    assert bench.client.settings["policy_path"] == str(other)
    until_executing(bench)
    bench.client.until(lambda: bench.client.settings["horizon"] == OTHER_HORIZON, "H", 20.0)
    last = dict(zip(bench.executed[-1].name, bench.executed[-1].position, strict=True))
    assert last["rtc/step_epoch"] == epoch, "the same run went on"
    assert last["rtc/row"] < OTHER_HORIZON
    assert not bench.running.refused


def test_a_checkpoint_that_does_not_fit_leaves_it_unconfigured_with_a_sentence(
    bench, lifecycle, tmp_path
):
    assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)
    assert lifecycle.set(policy_path=str(tmp_path / "nowhere")).successful
    assert not lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert lifecycle.state == State.PRIMARY_STATE_UNCONFIGURED
    said = bench.client.said
    bench.client.until(
        lambda: said("rtc_inference: inference").get("message", "").startswith("can't be conf"),
        "the sentence", 20.0,
    )  # fmt: skip
    assert "nowhere" in said("rtc_inference: inference")["message"]
    other = write_checkpoint(PAIRS["viperx"], tmp_path / "viperx")
    assert lifecycle.set(policy_path=str(other)).successful
    assert not lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert lifecycle.state == State.PRIMARY_STATE_UNCONFIGURED


def test_an_activation_that_fails_can_be_tried_again(bench, lifecycle):
    """The ring can't be made where its folder takes no new file."""
    assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
    ring = next(p for p in bench.folder.iterdir() if p.suffix == ".ring")
    aside = ring.with_suffix(".aside")
    os.rename(ring, aside)
    ring.mkdir()
    (ring / "in_the_way").touch()
    try:
        assert not lifecycle.change(Transition.TRANSITION_ACTIVATE)
        assert lifecycle.state == State.PRIMARY_STATE_INACTIVE
    finally:
        (ring / "in_the_way").unlink()
        ring.rmdir()
        os.rename(aside, ring)
    assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
    until_executing(bench)


def test_with_the_gate_closed_one_sees_what_a_chunk_would_lack(bench, lifecycle):
    said, camera = bench.client.said, "/left/cam_wrist/image_raw"
    bench.stop()
    turn = "waiting for its turn (the controller is STOPPED)"
    bench.client.until(
        lambda: said("rtc_inference: inference")["message"] == turn, "all inputs", 20.0
    )
    assert said("rtc_controller: handoff")["message"] == "attached"
    assert said("rtc_controller: handoff")["H"] == str(bench.client.settings["horizon"])
    bench.running.silent.add(camera)
    bench.client.until(
        lambda: "left_wrist" in said("rtc_inference: inference")["message"], "its name", 20.0
    )
    assert said("rtc_inference: inference")["message"].endswith("the controller is STOPPED)")
    bench.running.silent.clear()
    bench.client.until(
        lambda: said("rtc_inference: inference")["message"] == turn, "all inputs", 20.0
    )
    bench.move()


def test_with_the_gate_closed_one_sees_what_is_odd_about_the_pose(bench, lifecycle):
    def said():
        return bench.client.said("rtc_inference: inference")["message"]

    bench.stop()
    body = bench.running.body
    joint = next(j for j in body.position if j.startswith("left_"))
    before = body.position[joint], body.command[joint]
    body.position[joint] = body.command[joint] = before[0] + 1000.0
    bench.client.until(lambda: "before ~/start: " in said(), "what is odd", 20.0)
    assert joint in said() and "standard deviations from the mean" in said()
    body.position[joint], body.command[joint] = before
    bench.client.until(lambda: "before" not in said(), "all well", 20.0)


def test_memory_is_watched(bench, lifecycle):
    said = bench.client.said
    name = "process, growth since activation [MiB]"
    bench.client.until(lambda: name in said("rtc_inference: memory"), "the entry", 20.0)
    assert float(said("rtc_inference: memory")["process [MiB]"]) > 100
