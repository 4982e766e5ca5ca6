"""π0.5, π0 and ACT drive the real nodes by `policy_path`; each recording comes out again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "policy"))
sys.path.append(str(Path(__file__).parent))

from learn_pi05 import ACTION, IMAGE, PLAN, STATE, demonstrated, learn  # noqa: E402
from tiny_act import write_act  # noqa: E402
from tiny_pi import load_pi, small, write_pi  # noqa: E402

from rtc_ros import bringup  # noqa: E402
from rtc_ros.bags.run_reader import read_run  # noqa: E402
from rtc_ros.core.continuity import judge  # noqa: E402
from rtc_ros.core.strategies import STRATEGIES  # noqa: E402
from rtc_ros.policy.families import FAMILIES  # noqa: E402
from rtc_ros.policy.protocol import Observation  # noqa: E402
from rtc_ros.running.processes import Processes  # noqa: E402
from rtc_ros.running.robot_client import RobotClient, RobotError  # noqa: E402
from rtc_ros.sim.robot import GRIPPERS, START_POSE  # noqa: E402
from rtc_ros.sim.tasks import PASS  # noqa: E402
from rtc_ros.tools.cli import main as rtc_ros  # noqa: E402

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.rendering]

CHUNKS = 8
SIZES = {"chunk_size": 50, "action_dim": 14, "state_dim": 14}


@dataclass(frozen=True)
class Learned:
    """The trained checkpoint, and what it was trained on."""

    folder: Path
    frames: dict[str, np.ndarray]
    losses: tuple[float, float]

    def wrong(self, chunks: np.ndarray, plans: np.ndarray) -> float:
        """Return the RMS of chunks − plans [N, H, A], in the joints' standard deviations."""
        spread = np.maximum(self.frames[ACTION].std(0), 0.05)
        return float(np.sqrt(np.square((chunks - plans) / spread).mean()))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """A π0.5 after half a minute of training on twelve demonstrations."""
    frames, tasks = demonstrated(12, seed=3)
    folder, losses = learn(tmp_path_factory.mktemp("learned") / "pi05", frames, tasks)
    return Learned(folder, frames, losses)


def near_home() -> dict[str, dict[str, np.ndarray]]:
    """Statistics with which a policy that learned nothing stays about where the arms begin."""
    wide = {"min": START_POSE - 0.05, "max": START_POSE + 0.05}
    wide |= {"q01": wide["min"], "q99": wide["max"], "q10": wide["min"], "q90": wide["max"]}
    return {f: {"mean": START_POSE, "std": np.full(14, 0.02), **wide} for f in (STATE, ACTION)}


def run(checkpoint: Path, folder: Path, **arguments: str) -> Path:
    """Let the simulated robot be driven by a checkpoint for a few chunks; return the bag."""
    values = {
        "policy_path": str(checkpoint),
        "record": str(folder / "bag"),
        "record_cameras": "true",
        "record_with": "rtc_recorder",
        **arguments,
    }
    with Processes(folder / "logs") as processes:
        nodes = bringup.nodes_to_run(values, simulated=True)
        # Not the warm-up's: it is several times as long where the machine is busy.
        nodes[1] = replace(nodes[1], parameters={**nodes[1].parameters, "initial_delay": 10})
        processes.start(nodes)
        with RobotClient(processes.check) as client:

            def made() -> int:
                client.ready()
                return int(client.said("rtc_inference: inference").get("chunks", 0))

            client.until(lambda: made() >= CHUNKS, "chunks", 180.0)
            if checkpoint.name == "act":
                with pytest.raises(RobotError, match="prefix_overwrite takes the previous chunk"):
                    client.set_parameters("rtc_inference", {"strategy": "prefix_overwrite"})
        assert set(processes.stop().values()) == {0}
    return folder / "bag"


@pytest.fixture(scope="module")
def small_nodes() -> Iterator[None]:
    """Let LeRobot build small ones in the node's process, and in this one."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setitem(bringup.MODULES, "rtc_inference", "small_inference")
        for kind in ("pi0", "pi05"):
            stack.enter_context(small(kind))
        yield


@pytest.fixture(scope="module")
def bags(
    learned: Learned, small_nodes: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A recording of each kind: the same nodes and parameters but for the checkpoint.

    ACT has no flow, so it needs a strategy beside it.
    """
    folder = tmp_path_factory.mktemp("families")
    cameras, stats = {IMAGE: (96, 96)}, near_home()
    pi0 = write_pi(
        folder / "pi0", "pi0", stats=stats, cameras=cameras, max_action_dim=14, max_state_dim=14,
        **SIZES,
    )  # fmt: skip
    act = write_act(folder / "act", stats=stats, cameras=cameras, **SIZES)
    return {
        "pi05": run(learned.folder, folder / "pi05_run"),
        "pi0": run(pi0, folder / "pi0_run"),
        "act": run(act, folder / "act_run", strategy="temporal_ensembling"),
    }


def test_training_has_taught_it_what_a_motion_looks_like(learned: Learned) -> None:
    """LeRobot's loss falls, and neighbouring rows lie by far closer than in an untrained one."""
    first, last = learned.losses
    assert last < 0.4 * first
    adapter = load_pi(learned.folder)
    seen = Observation(learned.frames[STATE][0], {IMAGE: learned.frames[IMAGE][0]}, PASS)

    def rough() -> float:
        chunk = adapter.infer(seen, None, seed=1).actions / adapter._scale.numpy()
        return float(np.sqrt(np.square(np.diff(chunk, axis=0)).mean()))

    trained = rough()
    with small("pi05"):
        new = FAMILIES["pi05"].build(adapter._policy.config, seed=0)
    adapter._policy.load_state_dict(new.state_dict())
    assert trained < 0.4 * rough()


def test_it_follows_what_it_sees_in_demonstrations_that_it_never_saw(learned: Learned) -> None:
    """Nearer to the expert's plans than the data's mean is, and than its own for other frames.

    One Euler step from noise ends on the mean of what a flow policy would do.
    """
    frames, tasks = demonstrated(4, seed=91)
    adapter, at = load_pi(learned.folder), np.arange(0, len(tasks), 7)
    plans = frames[PLAN][at]
    seen = (Observation(frames[STATE][i], {IMAGE: frames[IMAGE][i]}, tasks[i]) for i in at)
    made = np.stack(
        [adapter.infer(o, None, num_steps=1, seed=k).actions for k, o in enumerate(seen)]
    )
    mean = learned.frames[ACTION].mean(0)
    wrong, of_mean = learned.wrong(made, plans), learned.wrong(mean, plans)
    others = np.random.default_rng(0).permutation(len(at))
    of_others = learned.wrong(made[others], plans)
    print(f"off the plans: {wrong:.3f}, the mean {of_mean:.3f}, others' chunks {of_others:.3f}")
    assert wrong < 0.95 * of_mean
    assert wrong < 0.85 * of_others


def test_the_trained_one_moves_the_arms_through_the_nodes(bags: dict[str, Path]) -> None:
    """That it passes the cube isn't held: so short a training is too little."""
    log = read_run(bags["pi05"])
    assert log.commands.provenance is not None
    played = log.commands.command[log.commands.provenance.row >= 0]
    travel = np.ptp(played, axis=0)
    arms = np.setdiff1d(np.arange(14), GRIPPERS)
    assert travel[arms].max() > 0.2, "an arm moves"
    report = judge(log)
    assert report.steps > 3 * 15 and report.seam_count > 2


@pytest.mark.parametrize("kind", ["pi05", "pi0", "act"])
def test_a_recording_of_each_kind_is_made_again_to_the_bit(
    kind: str, bags: dict[str, Path], tmp_path: Path
) -> None:
    assert rtc_ros(["replay", str(bags[kind]), "--reproduce", "--json", str(tmp_path / "r")]) == 0
    found = json.loads((tmp_path / "r").read_text())["reproduction"]
    chunks = read_run(bags[kind]).chunks or []
    assert found["not_made"] == {}, "the first one's image is there, too"
    assert found["others"] == 0 and found["same"] == len(chunks) >= CHUNKS
    (strategy,) = found["by_strategy"]
    guided = [chunk for chunk in chunks if chunk.guided]
    if kind == "act":
        assert strategy == "temporal_ensembling" and not guided
    else:
        assert strategy == "rtc" and len(guided) >= CHUNKS - 2


def test_act_with_the_default_strategy_is_refused_with_those_that_it_can(
    bags: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = bags["act"].parents[1] / "act"
    inference = bringup.nodes_to_run({"policy_path": str(checkpoint)}, simulated=True)[1]
    assert inference.executable == "rtc_inference"
    with Processes(tmp_path / "logs") as processes:
        processes.start([inference])
        with RobotClient(processes.check) as client, pytest.raises(RobotError) as said:
            client.until(client.ready, "a refusal", 120.0)
        processes.stop()
    able = [name for name, each in STRATEGIES.items() if each.prefix is None]
    assert "can't be configured: rtc takes the previous chunk" in str(said.value)
    sentence = f"set strategy (strategy:=… in a launch) to one of {', '.join(able)}"
    assert sentence in str(said.value)
    assert "Traceback" not in (tmp_path / "logs" / "rtc_inference.log").read_text()
