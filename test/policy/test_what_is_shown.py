"""What reaches the vision tower is what LeRobot shows it of the camera's own image."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reference import Reference, guide
from tiny_checkpoint import SPEC, STATS

from rtc_ros.policy import flow_input
from rtc_ros.policy.adapter import FlowAdapter
from rtc_ros.policy.checkpoint import read_checkpoint
from rtc_ros.policy.checkpoint_files import checkpoint_path
from rtc_ros.policy.fast.field import FastField
from rtc_ros.policy.protocol import Observation
from rtc_ros.policy.tiny import write_tiny_checkpoint

TOP, SIDE, WRIST = (f"observation.images.{name}" for name in ("top", "side", "wrist"))
NATIVE = [(480, 640), (720, 1280), (640, 480), (256, 256)]
"""Heights and widths of cameras; the policy's configuration says 256 × 256, its tower 64 × 64."""


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory) -> Path:
    """A fine-tune of a base with three cameras of 256 × 256, of which the data had two."""
    spec = replace(SPEC, image_features=dict.fromkeys((TOP, SIDE, WRIST), (256, 256)))
    folder = tmp_path_factory.mktemp("fine_tuned") / "policy"
    return write_tiny_checkpoint(folder, spec, stats=STATS, empty_cameras=1)


def scene(height: int, width: int) -> np.ndarray:
    """Return a picture in which a circle is a circle, and no two sides are alike."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)
    cv2.circle(image, (width // 2, height // 2), min(height, width) // 4, (255, 255, 255), -1)
    return image


def observe(adapter, images) -> Observation:
    state = np.random.default_rng(1).normal(size=adapter.spec.state_dim)
    return Observation(state, images, "fold the cloth")


@contextmanager
def seen_by(policy, field=None):
    """Collect the images [3, h, w] that the vision tower of a policy, or of a field, gets."""
    seen: list[torch.Tensor] = []
    if isinstance(field, FastField):
        encode = field.prefix.vision.encode
        field.prefix.vision.encode = lambda images: seen.extend(images) or encode(images)
        yield seen
        field.prefix.vision.encode = encode
        return
    tower = policy.model.vlm_with_expert.get_vlm_model().vision_model
    hook = tower.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    yield seen
    hook.remove()


def shown(folder, adapter, images):
    """Return what the towers of LeRobot's path and of the adapter's get, and their chunks."""
    reference = Reference(folder)
    observation = observe(adapter, images)
    noise = adapter.noise(7)
    with seen_by(reference.policy) as theirs, torch.no_grad():
        their_chunk = reference.chunk(observation, noise)
    with seen_by(adapter._policy, adapter._field) as ours:
        chunk = adapter.infer(observation, None, seed=7).actions
    return theirs, ours, their_chunk, chunk


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "lerobot"])
@pytest.mark.parametrize("size", NATIVE, ids=lambda size: f"{size[1]}x{size[0]}")
def test_the_tower_gets_the_tensor_that_it_was_trained_on(fine_tuned, size, fast):
    adapter = FlowAdapter.load(fine_tuned, device="cpu", fast=fast)
    assert isinstance(adapter._field, FastField) is fast
    assert adapter.spec.pads_images and adapter.spec.image_features[TOP] == (256, 256)
    adapter.leave_out([WRIST])
    images = {TOP: scene(*size), SIDE: scene(*size)[::-1].copy()}
    theirs, ours, their_chunk, chunk = shown(fine_tuned, adapter, images)
    # LeRobot shows its tower the blank image of the camera that isn't there, too: hidden later.
    assert len(theirs) == 3 and (theirs[2] == -1).all()
    for seen in (theirs[:2], ours[:2]):
        assert [tuple(image.shape) for image in seen] == [(1, 3, 64, 64)] * 2
    for one, other in zip(theirs[:2], ours[:2], strict=True):
        assert torch.equal(one, other), float((one - other).abs().max())
    np.testing.assert_allclose(chunk, their_chunk, atol=2e-4)


@pytest.mark.parametrize("size", NATIVE, ids=lambda size: f"{size[1]}x{size[0]}")
def test_a_circle_stays_one(fine_tuned, size):
    adapter = FlowAdapter.load(fine_tuned, device="cpu")
    adapter.leave_out([WRIST])
    white = np.zeros((*size, 3), np.uint8)
    cv2.circle(white, (size[1] // 2, size[0] // 2), size[0] // 3, (255, 255, 255), -1)
    with seen_by(adapter._policy, adapter._field) as seen:
        adapter.infer(observe(adapter, {TOP: white, SIDE: white}), None, seed=0)
    ys, xs = torch.nonzero(seen[0][0, 0] > 0, as_tuple=True)
    wide, high = int(xs.max() - xs.min()) + 1, int(ys.max() - ys.min()) + 1
    assert abs(wide - high) <= 2 and high > 15, (wide, high)


def test_warming_up_and_guidance_take_any_size(fine_tuned):
    adapter = FlowAdapter.load(fine_tuned, device="cpu")
    adapter.leave_out([WRIST])
    assert adapter.warm_up("fold") > 0
    for size in NATIVE:
        images = {TOP: scene(*size), SIDE: scene(*size)}
        made = adapter.infer(observe(adapter, images), guide(adapter.spec), seed=1)
        assert np.isfinite(made.actions).all()


def test_without_padding_images_are_of_the_size_of_the_configuration(checkpoint):
    """Nothing else would resize them, and the tower takes what it is given."""
    loaded = FlowAdapter.load(checkpoint, device="cpu")
    loaded._policy.config.resize_imgs_with_padding = None  # LeRobot 0.4.4 reads no such config
    adapter = FlowAdapter(loaded._policy, loaded._pre, loaded._post, device="cpu")
    assert loaded.spec.pads_images and not adapter.spec.pads_images
    observation = observe(adapter, {TOP: scene(480, 640), SIDE: scene(480, 640)})
    for each, sizes in ((adapter, [(64, 64), (48, 64)]), (loaded, [(480, 640)] * 2)):
        batch = flow_input.to_batch(each.spec, observation, None, {}, torch.device("cpu"))
        assert [tuple(batch[name].shape[1:]) for name in (TOP, SIDE)] == sizes


def test_the_shipped_policy_is_shown_what_it_was(monkeypatch):
    """Its camera has the size of its configuration: nothing changed for it."""
    adapter = FlowAdapter.load(checkpoint_path("package:aloha_cube"), device="cpu")
    ((feature, size),) = adapter.spec.image_features.items()
    observation = observe(adapter, {feature: scene(*size)})
    adapter.infer(observation, None, seed=3)  # the first is compared with LeRobot's
    with seen_by(adapter._policy, adapter._field) as seen:
        chunk = adapter.infer(observation, None, seed=3).actions
    (image,) = seen
    expected = torch.tensor(observation.images[feature]).permute(2, 0, 1)[None] / 255 * 2 - 1
    assert image.shape == (1, 3, *size) and torch.equal(image, expected)
    # As it was when every image was brought to the configuration's size first.
    resized = flow_input._to_image
    monkeypatch.setattr(flow_input, "_to_image", lambda i, _, device: resized(i, size, device))
    np.testing.assert_array_equal(adapter.infer(observation, None, seed=3).actions, chunk)


# -------------------------------------------------------------------------- images left out


@pytest.mark.parametrize("left_out", [[WRIST], [TOP], [SIDE, WRIST]])
def test_an_image_left_out_is_hidden_as_lerobot_hides_a_missing_one(fine_tuned, left_out):
    adapter = FlowAdapter.load(fine_tuned, device="cpu", fast=False)
    adapter.leave_out(left_out)
    images = {n: scene(480, 640) for n in (TOP, SIDE, WRIST) if n not in left_out}
    assert set(adapter.spec.image_features) == set(images)
    observation = observe(adapter, images)
    reference = Reference(fine_tuned)
    theirs, their_masks = reference.policy.prepare_images(reference.batch(observation))
    batch = adapter._pre(
        flow_input.to_batch(adapter.spec, observation, None, {}, torch.device("cpu"))
    )
    ours, masks = adapter._policy.prepare_images(batch)
    # What is there, then one blank and hidden image: empty_cameras is 1.
    assert [bool(mask) for mask in masks] == [True] * len(images) + [False]
    for one, other in zip((*theirs, *their_masks), (*ours, *masks), strict=True):
        assert torch.equal(one, other)
    noise = adapter.noise(7)
    chunk = reference.chunk(observation, noise)
    for fast in (True, False):
        again = FlowAdapter.load(fine_tuned, device="cpu", fast=fast)
        again.leave_out(left_out)
        made = again.infer(observation, None, seed=7).actions
        np.testing.assert_allclose(made, chunk, atol=2e-4)


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "lerobot"])
def test_a_fine_tune_with_renamed_cameras_of_a_base_with_more(fine_tuned, tmp_path, fast):
    """As `lerobot-train --rename_map` with two cameras makes one of a base that has three."""
    folder = tmp_path / "renamed"
    shutil.copytree(fine_tuned, folder)
    path = folder / "policy_preprocessor.json"
    pipeline = json.loads(path.read_text())
    (step,) = [s for s in pipeline["steps"] if "rename" in s["registry_name"]]
    high, left = "observation.images.cam_high", "observation.images.cam_left"
    step["config"]["rename_map"] = {high: TOP, left: SIDE}
    path.write_text(json.dumps(pipeline))
    adapter = FlowAdapter.load(folder, device="cpu", fast=fast)
    assert set(adapter.spec.image_features) == {high, left, WRIST}
    assert set(read_checkpoint(folder).spec.image_features) == {high, left, WRIST}
    adapter.leave_out([WRIST])
    images = {high: scene(480, 640), left: np.zeros((480, 640, 3), np.uint8)}
    observation, noise = observe(adapter, images), adapter.noise(7)
    chunk = adapter.infer(observation, None, seed=7).actions
    np.testing.assert_allclose(chunk, Reference(folder).chunk(observation, noise), atol=1e-4)
    # The same pictures under the base model's names are the same to it.
    plain = FlowAdapter.load(fine_tuned, device="cpu", fast=fast)
    plain.leave_out([WRIST])
    same = replace(observation, images={TOP: images[high], SIDE: images[left]})
    np.testing.assert_array_equal(chunk, plain.infer(same, None, seed=7).actions)
    exchanged = replace(observation, images={high: images[left], left: images[high]})
    assert np.abs(adapter.infer(exchanged, None, seed=7).actions - chunk).max() > 5e-4


def test_what_it_is_shown_makes_no_difference_to_a_hidden_image(fine_tuned):
    """A stand-in for the camera that isn't there, black or not, is something else."""
    adapter = FlowAdapter.load(fine_tuned, device="cpu")
    black = np.zeros((480, 640, 3), np.uint8)
    images = {TOP: scene(480, 640), SIDE: scene(480, 640), WRIST: black}
    surrogate = adapter.infer(observe(adapter, images), None, seed=7).actions
    adapter.leave_out([WRIST])
    del images[WRIST]
    hidden = adapter.infer(observe(adapter, images), None, seed=7).actions
    assert np.abs(hidden - surrogate).max() > 1e-3


def test_images_that_cant_be_left_out(fine_tuned):
    adapter = FlowAdapter.load(fine_tuned, device="cpu")
    with pytest.raises(ValueError, match=r"images\.back can't be left out.*images\.wrist"):
        adapter.leave_out(["observation.images.back"])
    with pytest.raises(ValueError, match="needs one of them"):
        adapter.leave_out([TOP, SIDE, WRIST])
    assert set(adapter.spec.image_features) == {TOP, SIDE, WRIST}
    with pytest.raises(ValueError, match=r"missing: observation\.images\.wrist"):
        adapter.infer(observe(adapter, {TOP: scene(9, 9), SIDE: scene(9, 9)}), None)
