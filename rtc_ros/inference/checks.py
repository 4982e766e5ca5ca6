"""Does the policy fit what is configured? Every mismatch is named."""

from __future__ import annotations

from collections.abc import Sequence

from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.ros.joint_units import PolicyUnits
from rtc_ros.ros.parameters import repeated


def policy_problems(
    spec: PolicySpec, units: PolicyUnits, features: Sequence[str], left_out: Sequence[str] = ()
) -> list[str]:
    """Return a sentence for each way in which the policy doesn't fit the configuration.

    ``features`` are what the cameras give, ``left_out`` what ``left_out_images`` names.
    """
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
    lacking = sorted(wanted - given - set(left_out))
    if lacking:
        problems.append(
            f"the policy needs {', '.join(lacking)}, which no camera gives: set the "
            "camera.NAME.feature of the camera that does; or, if the policy was fine-tuned with "
            "fewer cameras than its base model has, name it in left_out_images"
        )
    if given & set(left_out):
        problems.append(
            f"left_out_images names {', '.join(sorted(given & set(left_out)))}, which a camera "
            "gives: take it from one of the two"
        )
    if set(left_out) - wanted:
        problems.append(
            f"left_out_images names {', '.join(sorted(set(left_out) - wanted))}, and the policy "
            f"has the images {', '.join(sorted(wanted)) or 'none'}"
        )
    if wanted and not wanted - set(left_out):
        problems.append("left_out_images names every image of the policy: it needs one of them")
    if given - wanted:
        problems.append(
            f"no image feature of the policy is called {', '.join(sorted(given - wanted))}; "
            f"it has {', '.join(sorted(wanted)) or 'none'}"
        )
    return problems
