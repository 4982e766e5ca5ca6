"""``filter_cutoff``: what a policy shakes is taken off without phase; frozen rows stay."""

import numpy as np
import pytest

from rtc_ros.core.controller import Controller
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.limits import JointLimits
from rtc_ros.core.settings import RtcSettings, beyond_rows
from rtc_ros.core.virtual_run import VirtualRun
from rtc_ros.policy.row_filter import filtered_rows, row_filter

DT, H = 0.02, 50


def sine(hz, rows=H, phase=0.3):
    return np.sin(2 * np.pi * hz * np.arange(rows) * DT + phase)[:, None]


@pytest.mark.parametrize(("hz", "left"), [(0.5, 1.0), (5.0, 0.5), (15.0, 0.0)])
def test_frequencies_are_kept_and_cut_without_any_delay(hz, left):
    rows = sine(hz, 400)
    out = filtered_rows(DT, rows, 5.0)
    middle = slice(100, 300)
    np.testing.assert_allclose(out[middle], left * rows[middle], atol=0.02)


def test_no_cutoff_is_no_filter_and_what_is_no_number_is_left_to_the_controller():
    rows = sine(8.0)
    assert filtered_rows(DT, rows, 0.0) is rows
    broken = rows.copy()
    broken[3] = np.nan
    assert filtered_rows(DT, broken, 5.0) is broken


@pytest.mark.parametrize("cutoff", [1.0, 3.0, 5.0, 12.0, 24.0])
@pytest.mark.parametrize("frozen", [1, 2, 7, 12, 30, 47, 48, 49, 50])
def test_frozen_rows_stay_to_the_bit_and_what_follows_goes_on_from_them(cutoff, frozen):
    """After the frozen part of a smooth motion, noise of 10 mrad: nothing steps at the seam."""
    rows = 0.4 * sine(0.5) + np.random.default_rng(1).normal(0, 0.01, (H, 1)) * (
        np.arange(H)[:, None] >= frozen
    )
    out = filtered_rows(DT, rows, cutoff, frozen)
    np.testing.assert_array_equal(out[:frozen], rows[:frozen])
    smooth = 0.4 * sine(0.5)
    if frozen <= 47 and 3.0 <= cutoff <= 12.0:
        assert np.abs(out - smooth).max() < 0.03
        bends = np.abs(np.diff(out, 2, axis=0))[max(frozen - 2, 0) :]
        before = np.abs(np.diff(rows, 2, axis=0))[max(frozen - 2, 0) :]
        assert bends.max() < 0.8 * before.max()


def test_an_endless_joint_is_filtered_along_its_way_and_told_in_its_turn():
    turn = np.array([2 * np.pi])
    limits = JointLimits.from_velocity([-np.inf], [np.inf], [9.0], DT, turn=turn)
    way = 3.0 + 0.05 * np.arange(H)[:, None] + 0.01 * sine(20.0)
    wrapped = (way + np.pi) % (2 * np.pi) - np.pi
    out = filtered_rows(DT, wrapped, 5.0, 4, limits)
    straight = filtered_rows(DT, way, 5.0, 4)
    off = (out - straight + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(off).max() < 1e-9 and np.abs(out - wrapped).max() < 0.05


def run(cutoff, strategy="rtc", ticks=600, noise=0.01):
    """A policy that shakes by ``noise`` and, where it is held to A_prev, obeys the mask."""
    wide = np.full(1, 1e3)
    loop = InferenceLoop(
        H,
        DelayEstimator(10, 6),
        RtcSettings(s_min=15, strategy=strategy, filter_cutoff=cutoff),
        row_filter=row_filter(DT),
    )
    chance, requests = np.random.default_rng(0), []

    def infer(request, _):
        requests.append(request)
        at = request.origin_step + np.arange(H)
        made = np.sin(0.05 * at)[:, None] + chance.normal(0, noise, (H, 1))
        if request.prev is not None and request.weights is not None:
            w = request.weights[: len(request.prev), None]
            made[: len(w)] = w * request.prev + (1 - w) * made[: len(w)]
        return made

    virtual = VirtualRun(
        Controller(JointLimits(-wide, wide, wide)), loop, infer, lambda _: 6, 20_000_000, ("a",),
        np.array([0.0]),
    )  # fmt: skip
    rows = np.array([c.row for c in (virtual.tick() for _ in range(ticks)) if c.executes])
    return rows[:, 0], requests, virtual


@pytest.mark.parametrize("strategy", ["rtc", "rtc_hard", "temporal_ensembling"])
def test_a_policy_that_shakes_moves_the_arm_a_fraction_as_roughly(strategy):
    rough, _, _ = run(0.0, strategy)
    smooth, _, _ = run(4.0, strategy)
    at = np.arange(len(rough))
    wanted = np.sin(0.05 * at)
    for rows in (rough, smooth):
        assert np.abs(rows - wanted).max() < 0.06, "in its time, not behind"
    ratio = np.diff(smooth, 2).std() / np.diff(rough, 2).std()
    assert ratio < (0.25 if strategy != "temporal_ensembling" else 0.4)


def test_a_prev_is_made_of_filtered_rows():
    rows, requests, virtual = run(4.0)
    chunks = {c.name: c for c in virtual.log().chunks}
    seen = 0
    for request in requests:
        if request.prev is None:
            continue
        previous = chunks[request.previous]
        stride = request.origin_step - previous.origin_step
        np.testing.assert_array_equal(
            request.prev[: H - stride], previous.actions[stride : stride + len(request.prev)]
        )
        assert request.frozen == int((request.weights == 1.0).sum()) > 0
        own = next(c for c in chunks.values() if c.origin_step == request.origin_step)
        made = own.actions[: request.frozen]
        np.testing.assert_array_equal(made, request.prev[: request.frozen])
        seen += 1
    assert seen > 20


def test_a_frequency_that_rows_cannot_hold_is_refused_by_the_numbers():
    assert beyond_rows(24.9, DT) == ""
    assert "25 Hz, and 50 rows a second hold nothing from 25 Hz up" in beyond_rows(25.0, DT)
    assert "filter_cutoff is -1" in RtcSettings(filter_cutoff=-1.0).problems(H, 5)[0]
    loop = InferenceLoop(H, DelayEstimator(10, 6), RtcSettings(filter_cutoff=4.0))
    _, requests, _ = run(4.0, ticks=20)
    with pytest.raises(ValueError, match="filter_cutoff is 4 Hz: no filter here"):
        loop.blended(sine(1.0), requests[0])
