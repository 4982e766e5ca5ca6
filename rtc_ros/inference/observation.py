"""Gathers one observation for the policy: images, joint positions in its units, the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtc_ros.inference.camera_input import CameraInput
from rtc_ros.policy.protocol import Observation
from rtc_ros.policy.state_spread import StateSpread
from rtc_ros.ros.joint_input import JointInput
from rtc_ros.ros.joint_units import PolicyUnits


@dataclass(frozen=True)
class Gathered:
    """An observation and when its oldest image was taken (CLOCK_MONOTONIC).

    ``image_stamps`` and ``joint_stamps`` are the headers' [ns], in the order of the cameras and of
    the joints: by them the observation is found again in a recording.
    """

    observation: Observation
    oldest_image_ns: int
    image_stamps: tuple[int, ...] = ()
    joint_stamps: tuple[int, ...] = ()


class ObservationSource:
    """Everything the policy sees, or the sentence that says what is missing.

    ``joints`` are those of ``units.state``; ``spread`` is of the policy's training data.
    """

    def __init__(
        self,
        cameras: Sequence[CameraInput],
        joints: JointInput,
        units: PolicyUnits,
        camera_timeout_s: float,
        joint_timeout_s: float,
        spread: StateSpread | None = None,
    ) -> None:
        self.cameras = cameras
        self.units = units
        self._joints = joints
        self._camera_timeout_s = camera_timeout_s
        self._joint_timeout_s = joint_timeout_s
        fits = spread is not None and len(spread.middle) == len(units.state.joints)
        self._spread = spread if fits else None

    def expect(self, max_speed: np.ndarray) -> None:
        """See ``JointInput.expect``; ``max_speed`` [A] is that of the actions' joints.

        A joint that isn't commanded may do what it likes.
        """
        known = dict(zip(self.units.actions.joints, max_speed, strict=True))
        self._joints.expect(np.array([known.get(j, np.inf) for j in self.units.state.joints]))

    def odd(self, observation: Observation) -> str:
        """Say what is odd about the pose, against the policy's training data; "" where nothing."""
        if self._spread is None:
            return ""
        misfit = self._spread.misfit(observation.state, self.units.state.joints)
        return "" if misfit is None else misfit.sentence

    def gather(self, task: str) -> tuple[Gathered | None, str]:
        """Return the newest observation and "", or None and what keeps the policy from it."""
        positions, problem = self._joints.read(self._joint_timeout_s)
        if problem:
            return None, problem
        state = self.units.state.to_policy(positions)
        if self._spread is not None:
            blinding = self._spread.blinding(state, self.units.state.joints)
            if blinding is not None:
                return None, f"{blinding.sentence}: {blinding.fix}"
        images, taken = {}, []
        for camera in self.cameras:
            image, taken_ns, problem = camera.read(self._camera_timeout_s)
            if image is None:
                return None, problem
            images[camera.feature] = image
            taken.append(taken_ns)
        observation = Observation(state, images, task)
        image_stamps = tuple(camera.read_stamp_ns for camera in self.cameras)
        gathered = Gathered(
            observation, min(taken, default=0), image_stamps, self._joints.read_stamps_ns
        )
        return gathered, ""
