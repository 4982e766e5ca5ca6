"""Cameras of the running robot: rate, size, encoding, stamps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from rtc_ros.bags.images import ImageError, decode, form
from rtc_ros.policy.protocol import PolicySpec
from rtc_ros.preflight.findings import Finding, bad, doubt, good
from rtc_ros.preflight.joints import gap, silence, stamps
from rtc_ros.preflight.probe import KEPT_IMAGES, Heard, Probe, full_name, news
from rtc_ros.preflight.setup import Camera, Setup

_LEAST_HZ = 10.0
_TYPES = {True: "sensor_msgs/msg/CompressedImage", False: "sensor_msgs/msg/Image"}


def check_rates(setup: Setup, probe: Probe) -> Iterator[Finding]:
    """Check that each camera sends, often enough and without gaps."""
    timeout_s = setup.inference["camera_timeout"]
    for camera in setup.cameras:
        subject, heard = f"camera {camera.name}", probe.heard.get(camera.topic, [])
        kind = _TYPES[camera.compressed]
        if not heard:
            yield bad(
                f"{subject} on {camera.topic}",
                silence(probe, camera.topic, kind),
                f"start the camera; or camera.{camera.name}.topic and .transport",
            )
            continue
        times = news(heard)
        gap_s, rate = probe.gap_s(times), len(heard) / probe.seconds
        if gap_s > timeout_s:
            repeats = " (images that repeat a stamp are no news)" * (len(times) < len(heard))
            yield gap(
                subject,
                f"no image for {gap_s:.2f} s, and camera_timeout is {timeout_s:g} s{repeats}",
                "a faster camera or link, or a larger camera_timeout",
                blames_load=not repeats,
            )
        elif rate < _LEAST_HZ:
            yield doubt(
                subject,
                f"{rate:.1f} images a second: the policy sees the past",
                "raise the camera's rate, or send it compressed",
            )
        else:
            yield good(subject, f"{rate:.0f} Hz, never more than {gap_s * 1e3:.0f} ms apart")
        yield from stamps(f"stamps of camera {camera.name}", heard)


def check_images(setup: Setup, probe: Probe, spec: PolicySpec | None) -> Iterator[Finding]:
    """Check that the images can be used and are like those of the training data."""
    for camera in setup.cameras:
        heard = probe.heard.get(camera.topic, [])
        if heard:
            yield from _sources(camera, probe, heard)
            yield from _image(camera, heard, spec)


def _sources(camera: Camera, probe: Probe, heard: list[Heard]) -> Iterator[Finding]:
    kind, subject = _TYPES[camera.compressed], f"sources of camera {camera.name}"
    named = sorted(full_name(p) for p in probe.publishers(camera.topic) if p.topic_type == kind)
    sending = len({h.publisher for h in heard})
    fix = "stop one, or give each camera a topic of its own"
    if sending > 1:
        yield bad(
            subject,
            f"{sending} publishers send images on {camera.topic} ({', '.join(named)}): the policy "
            "would see two places by turns",
            fix,
        )
    elif len(named) > 1:
        yield doubt(
            subject,
            f"{len(named)} publishers are on {camera.topic} ({', '.join(named)}), of which one "
            "sent images",
            fix,
        )


def _image(camera: Camera, heard: list[Heard], spec: PolicySpec | None) -> Iterator[Finding]:
    subject = f"images of camera {camera.name}"
    forms = [form(h.message) for h in heard]
    if len(set(forms)) > 1:
        changes = " then ".join(dict.fromkeys(each for each, _ in itertools.groupby(forms)))
        yield bad(subject, f"they change: {changes}", "is there a second camera on the topic?")
        return
    try:
        shapes = [decode(h.message).shape for h in heard[:KEPT_IMAGES]]
    except ImageError as error:
        what, _, fix = str(error).rpartition("; ")
        yield bad(subject, f"can't be converted to rgb8: {what}", fix)
        return
    height, width = shapes[0][:2]
    size = f"{width} × {height}"
    if len(set(shapes)) > 1:
        other = f"{shapes[1][1]} × {shapes[1][0]}"
        yield bad(subject, f"they change: {size} then {other}", "is there a second camera?")
        return
    said = forms[0] if size in forms[0] else f"{size} {forms[0]}"
    trained = None if spec is None else spec.image_features.get(camera.feature)
    if spec is None or trained is None:
        yield good(subject, said)
        return
    wanted = f"{trained[1]} × {trained[0]}"
    alike = np.isclose(width / height, trained[1] / trained[0], rtol=0.05)
    if height < trained[0] / 2:
        yield doubt(
            subject,
            f"{size}, and the policy's configuration says {wanted}"
            if spec.pads_images
            else f"{size}, and the policy was trained on {wanted}",
            "raise the camera's resolution",
        )
    elif spec.pads_images and (alike or trained[0] == trained[1]):
        # A square is what fine-tuning leaves there of the base model, whatever the data were.
        yield good(subject, f"{said}; the policy pads it, its configuration says {wanted}")
    elif spec.pads_images:
        yield doubt(
            subject,
            f"{size}, and the policy's configuration says {wanted}, another shape of picture: it "
            "pads either without distortion, but what it knows may be the other",
            "if the demonstrations' images (meta/info.json of the data set) are of that shape, "
            "set the camera to it; don't crop",
        )
    elif not alike:
        yield doubt(
            subject,
            f"{size}, and the policy was trained on {wanted}: another shape of picture",
            "set the camera to the shape of the demonstrations' images (or crop)",
        )
    else:
        yield good(subject, f"{said}, trained on {wanted}")
