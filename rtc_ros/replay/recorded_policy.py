"""The policy and the settings that a recording was made with."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

from rtc_ros.bags.reader import BagError
from rtc_ros.core.settings import RtcSettings
from rtc_ros.policy.protocol import Policy
from rtc_ros.replay.source import Recording

_LOADED_BY = (
    *("policy_path", "weak_policy_path", "backbone_path", "device", "dtype", "torch_threads"),
    *("fast", "left_out_images", "image_positions"),
)
"""The settings that tell how a policy was loaded: they may change within a recording."""


def load_policy(recording: Recording, path: str | None) -> Policy:
    """Load the policy as the recorded node did, or the one at ``path``.

    Raises:
        ValueError, OSError, RuntimeError: it can't be loaded; the message says why.
    """
    # Imported here: torch takes seconds, and a wrong bag is said before.
    from rtc_ros.policy.adapter import FlowAdapter
    from rtc_ros.policy.checkpoint_files import checkpoint_path

    known = recording.settings
    load = partial(
        FlowAdapter.load,
        backbone=None if path else str(known.get("backbone_path", "")) or None,
        device=str(known.get("device", "auto")),
        dtype=str(known.get("dtype", "float32")),
        image_positions="auto" if path else str(known.get("image_positions") or "auto"),
    )
    policy = load(
        checkpoint_path(path or str(known["policy_path"])),
        torch_threads=int(known.get("torch_threads", 0)) or None,
        fast=bool(known.get("fast", False)),
    )
    # Recordings of before images could be left out don't say so; another policy may lack some.
    unseen = set(known.get("left_out_images", ())) & set(policy.spec.image_features)
    if unseen:
        policy.leave_out(unseen)
    if known.get("weak_policy_path") and not path:
        weak = load(checkpoint_path(str(known["weak_policy_path"])), fast=False)
        if unseen:
            weak.leave_out(unseen)
        policy.contrast_with(weak)
    # As the node does: it may find that the fast path isn't equal here.
    policy.warm_up()
    return policy


def loaded_otherwise(recording: Recording, time_ns: int, path: str | None) -> str:
    """Say how the node had loaded its policy otherwise at ``time_ns``; "" where it is this one.

    ``path`` is as for ``load_policy``: a copy in another folder can't be told from another policy,
    so with one only that counts.
    """
    then, used = recording.settings_at(time_ns), recording.settings
    other = [n for n in _LOADED_BY if then.get(n) != used.get(n)]
    if path is not None:
        recorded = {said.get("policy_path") for _, said in recording.run.settings}
        used = {"policy_path": path}
        other = ["policy_path"] if path in recorded and then["policy_path"] != path else []
    if not other:
        return ""
    remedy = f": --policy {then['policy_path']} makes it again" if "policy_path" in other else ""
    words = " and ".join(f"{n} {then.get(n)!r}, not {used.get(n)!r}" for n in other)
    return f"the node had loaded its policy with {words}{remedy}"


def check_policy(recording: Recording, policy: Policy) -> None:
    """Raise BagError where the policy takes or gives something else than what was recorded."""
    spec, joints = policy.spec, recording.settings["joints"]
    cameras = set(recording.settings["cameras"])
    shown = recording.settings.get("state_joints") or joints
    if spec.action_dim != len(joints) or spec.state_dim != len(shown):
        raise BagError(
            f"the policy has {spec.action_dim} actions and {spec.state_dim} states, the "
            f"recording {len(joints)} joints and {len(shown)} that a policy is shown"
        )
    if cameras != set(spec.image_features):
        raise BagError(
            f"the policy sees {', '.join(sorted(spec.image_features)) or 'no camera'}, "
            f"recorded were {', '.join(sorted(cameras))}"
        )


def base_settings(recording: Recording) -> RtcSettings:
    """Return the recorded settings, without the injected latency: that is in the timing."""
    names = {f.name for f in fields(RtcSettings)} - {"inject_latency_ms"}
    known: dict[str, Any] = {n: v for n, v in recording.settings.items() if n in names}
    return RtcSettings(**known)
