"""Does the checkpoint fit the configuration? From its JSON and headers alone, without torch."""

from __future__ import annotations

from collections.abc import Iterator

from rtc_ros.inference.checks import policy_problems
from rtc_ros.inference.policy_loading import left_out_images
from rtc_ros.policy.checkpoint import Checkpoint, read_checkpoint
from rtc_ros.policy.checkpoint_files import CheckpointError, checkpoint_path
from rtc_ros.policy.image_positions import AUTO, unknown
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.policy.state_spread import StateSpread
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.setup import Setup


def look_at_checkpoint(
    setup: Setup,
) -> tuple[list[Finding], PolicySpec | None, StateSpread | None]:
    """Return the findings, and the policy's sizes and state statistics where it can be read."""
    try:
        checkpoint = read_checkpoint(checkpoint_path(setup.inference["policy_path"]))
        spread = checkpoint.state_spread
    except Exception as error:  # noqa: BLE001 - whatever stands in a file, it must not end this
        fix = "set policy_path to a complete LeRobot checkpoint folder (smolvla, pi0, pi05, act)"
        said = str(error) if isinstance(error, (CheckpointError, ValueError)) else repr(error)
        return [bad("checkpoint", said, fix)], None, None
    spec = checkpoint.spec
    findings = [*_sizes(setup, spec), *_backbone(setup, checkpoint)]
    findings += [doubt("checkpoint", sentence, fix) for sentence, fix in checkpoint.doubts()]
    if cannot := spec.cannot(setup.settings.strategy):
        findings.append(bad("strategy", cannot, "set strategy to one of those"))
    return [*findings, *_positions(setup, checkpoint)], spec, spread


def _sizes(setup: Setup, spec: PolicySpec) -> Iterator[Finding]:
    features, left_out = [c.feature for c in setup.cameras], left_out_images(setup.inference)
    problems = policy_problems(spec, setup.units, features, left_out)
    fix = "make `joints` and camera.NAME.feature those of the data set (meta/info.json)"
    for problem in problems:
        yield bad("checkpoint against joints and cameras", problem, fix)
    if not problems:
        yield good(
            "checkpoint against joints and cameras",
            f"{spec.description}: A = {spec.action_dim}, H = {spec.horizon}, images "
            f"{', '.join(sorted(set(spec.image_features) - set(left_out)))}"
            + (f", left out {', '.join(sorted(left_out))}" if left_out else ""),
        )


def _positions(setup: Setup, checkpoint: Checkpoint) -> Iterator[Finding]:
    subject, given = "positions of image patches", setup.inference["image_positions"]
    found = checkpoint.positions
    if given == AUTO and found.needed is None:
        yield doubt(subject, *unknown(found, checkpoint.folder))
    elif given != AUTO and found.needed not in (None, given):
        yield doubt(
            subject,
            f"image_positions is {given}, but the checkpoint needs {found.needed}: "
            f"{found.because}",
            "image_positions: auto",
        )
    else:
        yield good(subject, f"{found.needed}: {found.because}" if given == AUTO else given)


def _backbone(setup: Setup, checkpoint: Checkpoint) -> Iterator[Finding]:
    try:
        folder = checkpoint.backbone(setup.inference["backbone_path"] or None)
        if folder is None:
            return
        reader = checkpoint.task_reader(folder)
    except CheckpointError as error:
        yield bad("backbone", str(error), "fetch it once, or set backbone_path")
    else:
        yield good("backbone", f"found at {folder}")
        task = setup.inference["task"]
        problem = "" if reader is None else reader.problem(task)
        if problem:
            yield bad("task", problem, "say it in fewer words, the one that differs first")
        elif reader is not None:
            yield good("task", f"{reader.count(task)} of {reader.limit} tokens")
