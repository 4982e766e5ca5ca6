"""The three pairs of docs/bringup.md, with their drivers' doubles, cameras and a tiny checkpoint.

    python3 test/nodes/pair_doubles.py viperx|openarm|so101 --checkpoint FOLDER

runs one until ^C, so that the guide can be followed without a robot. All names here are the
drivers' and the data sets', written down apart from config/, which is compared with them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

HERE = Path(__file__).resolve().parent
STAND_INS = str(HERE / "interbotix")
sys.path[:0] = [str(HERE), STAND_INS]

from driver_doubles import (  # noqa: E402
    UPDATE_S,
    Body,
    Driver,
    ForwardController,
    InterbotixArm,
    StateBroadcaster,
    TrajectoryController,
)

SIDES = ("left", "right")
IMAGE = (48, 64)
HORIZON = 32
_SO101 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@dataclass(frozen=True)
class Pair:
    """A robot as its documentation has it.

    ``pose`` are its joints, in the policy's order, and where they stand [robot units]; ``policy``
    is that pose in the data set's units, ``state`` what its state has then, where it isn't the
    same; ``cameras`` maps image feature to topic, ``compressed``
    are the topics that carry JPEG.
    """

    name: str
    pose: dict[str, float]
    policy: tuple[float, ...]
    cameras: dict[str, str]
    compressed: tuple[str, ...] = ()
    state: tuple[float, ...] = ()

    @property
    def config(self) -> str:
        """The file of config/ that is for it."""
        return f"{self.name}_pair.yaml"


def viperx() -> Pair:
    """ALOHA's followers: radians; grippers 0 to 1 between 0.6197 and 1.6214 rad.

    As a state 0 to 1 between 44.0 and 57.9 mm of finger: half way the crank has them at 54.5.
    """
    arm = dict(zip(InterbotixArm.ARM, (0.0, -0.96, 1.16, 0.0, -0.3, 0.0), strict=True))
    pose = {f"{s}_{j}": at for s in SIDES for j, at in {**arm, "gripper": 1.12055}.items()}
    policy = [0.5 if j.endswith("gripper") else at for j, at in pose.items()]
    names = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    cameras = {f"observation.images.{c}": f"/{c}/camera/color/image_rect_raw" for c in names}
    state = [0.7562 if j.endswith("gripper") else at for j, at in pose.items()]
    return Pair("viperx", pose, tuple(policy), cameras, state=tuple(state))


def openarm() -> Pair:
    """OpenArm v10: radians and metres on both sides."""
    arm = (0.1, -0.3, 0.2, 1.2, 0.1, 0.1, -0.1, 0.02)
    pose = {}
    for side in SIDES:
        joints = [f"openarm_{side}_joint{i}" for i in range(1, 8)]
        joints.append(f"openarm_{side}_finger_joint1")
        sign = -1.0 if side == "right" else 1.0
        pose.update(zip(joints, (arm[0], sign * arm[1], *arm[2:]), strict=True))
    cameras = {
        "observation.images.cam_high": "/cam_high/image_raw/compressed",
        "observation.images.cam_left_wrist": "/cam_left_wrist/image_raw",
        "observation.images.cam_right_wrist": "/cam_right_wrist/image_raw",
    }
    compressed = ("/cam_high/image_raw/compressed",)
    return Pair("openarm", pose, tuple(pose.values()), cameras, compressed)


def so101() -> Pair:
    """LeRobot's bimanual SO-101: degrees; grippers 0 to 100 between −0.1745 and 1.7453 rad."""
    arm = dict(zip(_SO101, (0.1, -1.2, 1.1, 0.6, -0.2, 0.7854), strict=True))
    pose = {f"{s}_{j}": at for s in SIDES for j, at in arm.items()}
    policy = [
        100 * (at + 0.174533) / (1.74533 + 0.174533) if j.endswith("gripper") else np.degrees(at)
        for j, at in pose.items()
    ]
    cameras = {
        "observation.images.top": "/top/image_raw/compressed",
        "observation.images.left_wrist": "/left/cam_wrist/image_raw",
        "observation.images.right_wrist": "/right/cam_wrist/image_raw",
    }
    return Pair("so101", pose, tuple(policy), cameras, ("/top/image_raw/compressed",))


PAIRS = {pair.name: pair for pair in (viperx(), openarm(), so101())}


def drivers_of(pair: Pair, context: Context, body: Body) -> list[Driver]:
    """Return the doubles of what runs on the robot."""
    made: list[Driver] = []
    if pair.name == "viperx":
        return [InterbotixArm(context, body, f"follower_{s}", f"{s}_") for s in SIDES]
    if pair.name == "openarm":
        for side in SIDES:
            joints = [j for j in pair.pose if side in j]
            name = f"{side}_joint_trajectory_controller"
            made.append(TrajectoryController(context, name, body, joints[:7]))
            made.append(ForwardController(context, f"{side}_gripper_controller", body, joints[7:]))
        return [*made, StateBroadcaster(context, body, sorted(pair.pose))]
    for side in SIDES:
        joints = [f"{side}_{j}" for j in _SO101]
        own: dict[str, Any] = {
            "namespace": side,
            "bare": lambda j, s=side: j.removeprefix(f"{s}_"),
        }
        made.append(ForwardController(context, "forward_controller", body, joints, **own))
        made.append(StateBroadcaster(context, body, joints[::-1], **own))
    return made


class RunningPair:
    """The drivers and cameras of a pair as nodes of this process, spun in a thread."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.body = pair, Body(pair.pose)
        self.silent: set[str] = set()
        """Camera topics on which nothing comes."""
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.drivers = drivers_of(pair, self.context, self.body)
        cameras = Driver(self.context, "cameras", "")
        self._cameras = [
            (topic, cameras.node.create_publisher(
                CompressedImage if topic in pair.compressed else Image, topic, 2))
            for topic in pair.cameras.values()
        ]  # fmt: skip
        self._executor = SingleThreadedExecutor(context=self.context)
        self._nodes = [driver.node for driver in (*self.drivers, cameras)]
        for node in self._nodes:
            self._executor.add_node(node)
        cameras.node.create_timer(UPDATE_S, self._update)
        cameras.node.create_timer(1 / 30, self._publish_images)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _update(self) -> None:
        for driver in self.drivers:
            driver.update()
        self.body.update()

    def _publish_images(self) -> None:
        pixels = np.full((*IMAGE, 3), 90, np.uint8)
        stamp = self.drivers[0].node.get_clock().now().to_msg()
        for topic, publisher in self._cameras:
            if topic in self.silent:
                continue
            if topic in self.pair.compressed:
                message = CompressedImage(format="rgb8; jpeg compressed bgr8")
                message.data = cv2.imencode(".jpg", pixels)[1].tobytes()
            else:
                message = Image(height=IMAGE[0], width=IMAGE[1], encoding="rgb8")
                message.step, message.data = 3 * IMAGE[1], pixels.tobytes()
            message.header.stamp = stamp
            publisher.publish(message)

    @property
    def refused(self) -> list[str]:
        """What the drivers didn't take, with their names."""
        return [
            f"{d.node.get_fully_qualified_name()}: {r}" for d in self.drivers for r in d.refused
        ]

    def close(self) -> None:
        """End the nodes."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(timeout=5.0)
        # Whatever was left of them, other tests would find on the network.
        for node in self._nodes:
            node.destroy_node()
        self.context.try_shutdown()


def write_checkpoint(pair: Pair, folder: Path, *, horizon: int = HORIZON, seed: int = 0) -> Path:
    """Write a tiny SmolVLA with the data set's features, whose actions stay about the pose."""
    from rtc_ros.policy.tiny import TinySpec, write_tiny_checkpoint

    size = len(pair.pose)
    spec = TinySpec(
        chunk_size=horizon,
        action_dim=size,
        state_dim=size,
        image_features=dict.fromkeys(pair.cameras, IMAGE),
        hidden=64,
        layers=2,
        vision_hidden=48,
        vision_layers=1,
        num_steps=4,
    )
    mean = np.array(pair.policy)
    # A hundredth of what the unit spans: 0.02 rad, about 1 degree, 1 of 100, half a millimetre.
    width = np.where([j.endswith("finger_joint1") for j in pair.pose], 5e-4, 0.02)
    if pair.name == "so101":
        width = np.ones(size)
    actions = {"mean": mean, "std": width}
    states = {"mean": np.array(pair.state or pair.policy), "std": width}
    return write_tiny_checkpoint(
        folder, spec, stats={"observation.state": states, "action": actions}, seed=seed
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one pair until ^C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair", choices=sorted(PAIRS))
    parser.add_argument("--checkpoint", type=Path, help="write a tiny checkpoint there first")
    options = parser.parse_args(argv)
    pair = PAIRS[options.pair]
    if options.checkpoint and not options.checkpoint.exists():
        write_checkpoint(pair, options.checkpoint)
    running = RunningPair(pair)
    hint = f"; PYTHONPATH needs {STAND_INS}" if pair.name == "viperx" else ""
    print(f"{pair.name} runs in ROS domain {os.environ.get('ROS_DOMAIN_ID', 0)}{hint}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    print("\n".join(running.refused))
    running.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
