"""Does the policy fit what is configured? Every mismatch is named."""

from __future__ import annotations

from collections.abc import Sequence

from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.parameters import repeated


def policy_problems(spec: PolicySpec, units: PolicyUnits, features: Sequence[str]) -> list[str]:
    """Return a sentence for each way in which the policy doesn't fit the configuration."""
    problems = []
    commanded, shown = units.actions.joints, units.state.joints
    if spec.action_dim != len(commanded):
        problems.append(
            f"the policy commands {spec.action_dim} joints, but `joints` names {len(commanded)}"
        )
    if spec.state_dim != len(shown):
        problems.append(
            f"the policy's state has {spec.state_dim} values, but "
            f"`{'joints' if shown == commanded else 'state_joints'}` names {len(shown)}"
        )
    wanted, given = set(spec.image_features), set(features)
    twice = repeated(features)
    if twice:
        problems.append(
            f"{', '.join(twice)} comes from {features.count(twice[0])} cameras; give each its own "
            "camera.NAME.feature"
        )
    if wanted - given:
        problems.append(
            f"the policy needs {', '.join(sorted(wanted - given))}, which no camera gives; "
            "add a camera, or set its camera.NAME.feature"
        )
    if given - wanted:
        problems.append(
            f"no image feature of the policy is called {', '.join(sorted(given - wanted))}; "
            f"it has {', '.join(sorted(wanted)) or 'none'}"
        )
    return problems
