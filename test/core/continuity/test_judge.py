"""The continuity figures on motions made by hand, where every figure is known."""

import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.continuity import Judge, judge
from rtc_ros.core.continuity.run_log import CommandLog, JointLog, Provenance, RunLog, SwapEvent
from rtc_ros.core.continuity.verdict import Thresholds
from rtc_ros.core.cursor import Mode

PERIOD_NS = 20_000_000
STRIDE = 10
# The package's name ``judge`` is the function.
MODULE = sys.modules["rtc_ros.core.continuity.judge"]


def log_of(command, *, stride=STRIDE, step_epoch=1, wanted=None, **changes):
    """Return a log that executes ``command`` [N, A], with a new chunk every ``stride`` steps."""
    command = np.atleast_2d(np.asarray(command, dtype=float).T).T
    n = len(command)
    step = np.arange(n)
    seq = step // stride
    columns = {
        "step": step,
        "tick": step,
        "row": step % stride,
        "origin_step": seq * stride,
        "chunk_epoch": np.full(n, 5),
        "chunk_seq": seq,
        "step_epoch": np.full(n, step_epoch),
        "limited": np.zeros(n),
        "lateness_us": np.full(n, 100.0),
        "mode": np.full(n, int(Mode.RUNNING)),
    }
    columns.update(changes)
    return CommandLog(
        tuple(f"j{i}" for i in range(command.shape[1])),
        10**18 + step * PERIOD_NS,
        command,
        command.copy() if wanted is None else np.asarray(wanted, dtype=float).reshape(n, -1),
        np.zeros(n, dtype=int),
        ("execute",),
        Provenance.from_columns(np.stack([columns[k] for k in Provenance.names()], axis=1)),
    )


def ramp(n=200, speed=0.01):
    return np.arange(n) * speed


def sine(n=400, amplitude=0.5, hertz=0.25):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(n) * PERIOD_NS * 1e-9)


def held(log, first, count, mode, reason):
    """Return the log with ``count`` holds before record ``first``."""
    p = log.provenance
    n = len(log)
    index = np.insert(np.arange(n), first, np.full(count, max(first - 1, 0)))
    is_held = np.insert(np.zeros(n, bool), first, np.ones(count, bool))
    tick = np.arange(len(index))
    stamp = 10**18 + tick * PERIOD_NS
    fields = {k: getattr(p, k)[index] for k in Provenance.names()}
    fields.update(tick=tick, row=np.where(is_held, NO_STEP, fields["row"]))
    fields["mode"] = np.where(is_held, int(mode), fields["mode"])
    fields["step"] = np.where(is_held, p.step[min(first, n - 1)], fields["step"])
    return CommandLog(
        log.joints,
        stamp,
        log.command[index],
        log.command[index],
        is_held.astype(int),
        ("execute", reason),
        Provenance(**fields),
    )


# Seams


def test_a_steady_motion_has_no_excess_at_its_seams():
    report = judge(RunLog(log_of(ramp())))
    assert len(report.seams) == 19
    assert report.seam_jump.max == pytest.approx(0.01)
    assert report.seam_jump_ratio.max == pytest.approx(1.0)
    assert report.seam_excess.max == pytest.approx(0.0, abs=1e-12)
    assert report.verdict.passed


def test_a_known_jump_on_a_ramp_is_measured_without_the_ramp():
    motion = ramp()
    motion[100:] += 0.3
    report = judge(RunLog(log_of(motion)))
    worst = max(report.seams, key=lambda s: s.jump_max)
    assert worst.step == 100
    assert worst.jump_max == pytest.approx(0.31)
    assert worst.jump_ratio == pytest.approx(31.0)
    assert worst.excess_max == pytest.approx(0.3)
    assert worst.excess_ratio == pytest.approx(30.0)
    assert worst.acceleration_max == pytest.approx(0.3 / 0.02**2)
    assert report.verdict.passed is False
    assert "excess" in report.verdict.why[0]


def test_seams_are_compared_with_ordinary_steps_by_a_ratio_of_its_own():
    """Seams 1.5 times as rough as the steps between: in the median and in the p95."""
    random = np.random.default_rng(1)
    steps = 0.01 + 0.001 * random.choice([-1.0, 1.0], 6000)
    steps[1::2] = 0.01
    steps[STRIDE::STRIDE] = 0.01 + 0.003 * random.choice([-1.0, 1.0], len(steps[STRIDE::STRIDE]))
    run = RunLog(log_of(np.cumsum(steps)))
    report = judge(run)
    seam, ordinary = report.seam_excess_ratio, report.ordinary_excess_ratio
    ratio = report.seam_to_ordinary
    assert ratio.p95 == seam.p95 / ordinary.p95 > 1.2
    assert ratio.median == seam.median / ordinary.median > ratio.p95
    assert report.verdict.passed  # nobody asked
    for asked in ("max_seam_p95_ratio", "max_seam_median_ratio"):
        figure = getattr(ratio, asked.split("_")[2])
        for limit, passed in ((figure * 1.01, True), (figure * 0.99, False)):
            verdict = judge(run, Thresholds(**{asked: limit})).verdict
            assert verdict.passed is passed
            assert any(f"{figure:.4g}, allowed" in each for each in verdict.why)


def test_a_jump_inside_a_chunk_is_not_a_seams():
    motion = ramp()
    motion[105:] += 0.3
    report = judge(RunLog(log_of(motion)))
    assert report.seam_excess.max == pytest.approx(0.0, abs=1e-12)
    assert report.ordinary_jump.max == pytest.approx(0.31)


def test_a_sine_has_its_own_velocity_and_acceleration():
    report = judge(RunLog(log_of(sine())))
    omega = 2 * np.pi * 0.25
    assert report.ordinary_jump.max == pytest.approx(0.5 * omega * 0.02, rel=1e-3)
    assert report.ordinary_acceleration.max == pytest.approx(0.5 * omega**2, rel=1e-3)
    assert report.seam_excess_ratio.max < 0.01


def test_a_jump_is_named_by_its_joint_and_scaled_by_that_joints_own_motion():
    motion = np.stack([ramp(), 0.1 * ramp()], axis=1)
    motion[100:, 1] += 0.01
    worst = max(judge(RunLog(log_of(motion))).seams, key=lambda s: s.excess_ratio)
    assert (worst.step, worst.worst_joint) == (100, 1)
    assert worst.excess_ratio == pytest.approx(10.0)


def test_noise_of_a_resting_joint_is_no_jump():
    rng = np.random.default_rng(0)
    motion = np.stack([ramp(), rng.normal(0, 1e-6, 200)], axis=1)
    assert judge(RunLog(log_of(motion))).seam_excess_ratio.max < 0.1


def test_limits_do_not_hide_a_jump_that_they_smear():
    wanted = ramp()
    wanted[100:] += 0.3
    command = wanted.copy()
    for k in range(1, len(command)):
        command[k] = min(wanted[k], command[k - 1] + 0.03)
    limited = (command != wanted).astype(float)
    report = judge(RunLog(log_of(command, wanted=wanted, limited=limited)))
    worst = max(report.seams, key=lambda s: s.excess_ratio)
    assert worst.jump_max == pytest.approx(0.03)
    assert worst.excess_max == pytest.approx(0.3)
    assert worst.excess_ratio == pytest.approx(30.0), "catching up is not ordinary motion"
    assert report.limited_steps == limited.sum() > 5


def test_a_clipped_joint_is_not_in_a_permanent_jump():
    wanted = np.stack([ramp(), np.full(200, -0.02)], axis=1)
    command = np.maximum(wanted, 0.0)
    report = judge(RunLog(log_of(command, wanted=wanted)))
    assert report.seam_excess_ratio.max == pytest.approx(0.0, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(40, 200), st.integers(0, 2**31))
def test_one_chunk_has_no_seam_figures(n, seed):
    motion = np.random.default_rng(seed).normal(0, 1, (n, 3)).cumsum(axis=0)
    report = judge(RunLog(log_of(motion, stride=n)))
    assert report.seams == ()
    for name in ("seam_jump", "seam_excess", "seam_acceleration", "stride", "under_forecast"):
        assert getattr(report, name) is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(60, 150), st.integers(60, 150))
def test_putting_two_runs_together_changes_no_seam(seed, n, m):
    rng = np.random.default_rng(seed)
    one = log_of(rng.normal(0, 1, (n, 2)).cumsum(axis=0))
    two = log_of(rng.normal(0, 1, (m, 2)).cumsum(axis=0), step_epoch=2)
    both = CommandLog(
        one.joints,
        np.concatenate([one.stamp_ns, two.stamp_ns + 10**12]),
        np.concatenate([one.command, two.command]),
        np.concatenate([one.wanted, two.wanted]),
        np.concatenate([one.reason, two.reason]),
        one.reasons,
        Provenance(
            *(
                np.concatenate([getattr(one.provenance, k), getattr(two.provenance, k)])
                for k in Provenance.names()
            )
        ),
    )
    report = judge(RunLog(both))
    assert len(report.sections) == 2
    alone = [s for log in (one, two) for s in judge(RunLog(log)).seams]
    where = {"record": 0, "time_s": 0.0}
    assert [dataclasses.replace(s, **where) for s in report.seams] == [
        dataclasses.replace(s, **where) for s in alone
    ]


# Misplaced steps


def test_a_good_run_has_nothing_misplaced():
    assert judge(RunLog(log_of(ramp()))).misplaced_steps == 0


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 198),
    st.sampled_from(["wrong row", "skipped", "repeated"]),
    st.integers(1, 5),
)
def test_every_misplaced_step_is_found(at, kind, by):
    log = log_of(ramp())
    p = log.provenance
    row, step, origin = p.row.copy(), p.step.copy(), p.origin_step.copy()
    if kind == "wrong row":
        row[at] += by
    else:
        step[at:] += by if kind == "skipped" else -min(by, at)
        origin[at:] = step[at:] - row[at:]
    changed = dataclasses.replace(p, row=row, step=step, origin_step=origin)
    report = judge(RunLog(dataclasses.replace(log, provenance=changed)))
    assert report.sections[0].misplaced[kind] >= 1
    assert report.verdict.passed is False
    others = {k: n for k, n in report.sections[0].misplaced.items() if k != kind}
    assert not any(others.values()), others


def test_steps_that_the_recording_lacks_are_not_called_skipped():
    log = log_of(ramp())
    keep = np.r_[0:80, 90:200]
    cut = CommandLog(
        log.joints,
        log.stamp_ns[keep],
        log.command[keep],
        log.wanted[keep],
        log.reason[keep],
        log.reasons,
        Provenance(*(getattr(log.provenance, k)[keep] for k in Provenance.names())),
    )
    report = judge(RunLog(cut))
    assert report.misplaced_steps == 0
    assert report.sections[0].unrecorded_ticks == 10
    # The seam at step 90 follows a gap: its jump can't be known and is not made up.
    gap = next(s for s in report.seams if s.step == 90)
    assert gap.excess_max is None


def chunks_for(log, horizon=20, delay=4, **changes):
    """Return the chunks that ``log`` was executed from, extended steadily to ``horizon``."""
    chunks = []
    for seq in range(len(log) // STRIDE):
        origin = seq * STRIDE
        rows = log.command[origin] + 0.01 * np.arange(horizon)[:, None]
        chunks.append(
            ActionChunk(
                rows,
                origin,
                step_epoch=1,
                epoch=5,
                seq=seq,
                delay=delay,
                stride=STRIDE,
                guided=True,
            )
        )
    return [dataclasses.replace(c, **changes) for c in chunks]


def test_rows_are_compared_with_the_recorded_chunks():
    log = log_of(ramp())
    assert judge(RunLog(log, chunks=chunks_for(log))).misplaced_steps == 0
    log.command[57] += 0.001
    log.wanted[57] += 0.001
    report = judge(RunLog(log, chunks=chunks_for(log_of(ramp()))))
    assert report.sections[0].misplaced["not the chunk's row"] == 1


def test_a_chunk_of_another_run_is_misplaced():
    log = log_of(ramp())
    report = judge(RunLog(log, chunks=chunks_for(log, step_epoch=9)))
    assert report.sections[0].misplaced["chunk of another run"] == 200


# Holds


def test_starved_and_waiting_ticks_are_told_apart():
    log = held(log_of(ramp()), 0, 30, Mode.WAITING, "hold: waiting for the first chunk")
    report = judge(RunLog(log))
    assert (report.waiting_ticks, report.starved_ticks) == (30, 0)
    assert report.verdict.passed
    log = held(log_of(ramp()), 100, 7, Mode.STARVED, "hold: starved")
    report = judge(RunLog(log))
    assert (report.waiting_ticks, report.starved_ticks) == (0, 7)
    assert report.verdict.passed is False
    assert "starved ticks: 7, allowed 0" in report.verdict.why
    assert next(s for s in report.seams if s.step == 100).held_ticks == 7


def test_without_a_mode_the_reason_tells():
    log = held(log_of(ramp()), 100, 7, NO_STEP, "hold: starved")
    assert judge(RunLog(log)).starved_ticks == 7


# What a frozen or an empty run is worth


def test_a_frozen_robot_does_not_pass():
    report = judge(RunLog(log_of(np.zeros(200))))
    assert report.verdict.passed is None
    assert "never moved" in report.verdict.why[0]


def test_an_empty_log_is_not_judged():
    assert judge(RunLog(log_of(np.zeros((0, 2))))).verdict.passed is None


def test_only_holds_are_not_judged():
    log = held(log_of(ramp(20)), 0, 100, Mode.WAITING, "hold: waiting")
    assert judge(RunLog(log)).verdict.passed is None


def test_commands_alone_say_what_they_cannot_tell():
    log = dataclasses.replace(log_of(ramp()), provenance=None, wanted=None)
    report = judge(RunLog(log))
    assert report.verdict.passed is None
    assert "no provenance" in report.unknown[0]
    assert report.sections[0].ordinary_jump.max == pytest.approx(0.01)
    assert report.seams == ()


def test_what_the_recording_lacks_is_said():
    log = log_of(ramp())
    said = " ".join(judge(RunLog(log)).unknown)
    for word in ("swap events", "chunks", "joint states"):
        assert word in said
    full = RunLog(log, [], chunks_for(log), JointLog(log.stamp_ns, log.command))
    assert judge(full).unknown == ()


# Chunks, delays, the arm


def test_prefix_mismatch_is_the_frozen_rows_against_what_was_executed():
    log = log_of(ramp())
    chunks = chunks_for(log, horizon=20, delay=4)
    rows = chunks[8].actions.copy()
    rows[3] += 0.02  # the last frozen row
    rows[4] += 0.5  # the first that is not
    wrong = dataclasses.replace(chunks[8], actions=rows)
    report = judge(RunLog(log, chunks=[*chunks[:8], wrong, *chunks[9:]]))
    assert report.prefix_mismatch.max == pytest.approx(0.02)
    assert report.overlap_rms.max == pytest.approx(0.5 / np.sqrt(6)), "rows 4..9 of 10 shared"


def test_delays_forecast_and_observed():
    log = log_of(ramp())
    swaps = [
        SwapEvent(
            step=s,
            chunk_epoch=5,
            chunk_seq=s // STRIDE,
            delay_forecast=4,
            delay_observed=4 + (s == 50),
            stride=STRIDE,
            step_epoch=1,
        )
        for s in range(10, 200, 10)
    ]
    report = judge(RunLog(log, swaps=swaps))
    assert report.delays == {"4 -> 4": 18, "4 -> 5": 1}
    assert report.under_forecast == 1
    assert report.stride.max == STRIDE


def test_tracking_error_of_an_arm_that_lags():
    log = log_of(ramp())
    measured = JointLog(log.stamp_ns, log.command - 0.05)
    assert judge(RunLog(log, measured=measured)).joints[0].tracking_rms == pytest.approx(0.05)


def test_rate_pauses_and_a_clock_that_jumps_back():
    log = log_of(ramp())
    report = judge(RunLog(log))
    assert report.rate_hz == pytest.approx(50.0)
    stamps = log.stamp_ns.copy()
    stamps[100:] += 5 * 10**9
    report = judge(RunLog(dataclasses.replace(log, stamp_ns=stamps)))
    assert report.sections[0].pauses == 1
    assert report.rate_hz == pytest.approx(50.0, rel=0.01), "a stop is not a slow rate"
    stamps[150:] -= 10 * 10**9
    report = judge(RunLog(dataclasses.replace(log, stamp_ns=stamps)))
    assert report.sections[0].clock_jumps_back == 1
    assert report.sections[0].control_period_s == pytest.approx(0.02)


def test_late_ticks_fail_and_a_negative_threshold_switches_a_figure_off():
    log = log_of(ramp(), lateness_us=np.full(200, 9000.0))
    assert judge(RunLog(log)).verdict.passed is False
    assert judge(RunLog(log), Thresholds(max_lateness_s=-1)).verdict.passed


# Piece by piece


def part_of(log, rows):
    """Return some records of ``log``."""
    p = log.provenance
    origin = None if p is None else Provenance(*(getattr(p, k)[rows] for k in p.names()))
    return CommandLog(
        log.joints,
        log.stamp_ns[rows],
        log.command[rows],
        None if log.wanted is None else log.wanted[rows],
        None if log.reason is None else log.reason[rows],
        log.reasons,
        origin,
    )


def fed(log, sizes):
    """Return the report on ``log`` fed in pieces of these sizes, in turn."""
    judging, begin, end, turn = Judge(), 0, 0, 0
    while end < len(log):
        end = min(len(log), end + sizes[turn % len(sizes)])
        turn += 1
        begin += judging.feed(RunLog(part_of(log, slice(begin, end))), final=end == len(log))
    return judging.report(RunLog(log))


@pytest.mark.parametrize("span", [50, 137, 1000])
@pytest.mark.parametrize("sizes", [[1], [7, 60, 3], [400]])
def test_pieces_give_the_report_of_the_whole(monkeypatch, span, sizes):
    monkeypatch.setattr(MODULE, "SPAN", span)
    monkeypatch.setattr(MODULE, "LEAD", 30)
    rng = np.random.default_rng(1)
    log = log_of(ramp(330) + rng.normal(0, 0.003, 330).cumsum())
    log = held(log, 200, 6, Mode.STARVED, "hold: starved")
    epochs = np.where(np.arange(len(log)) < 150, 1, 2)
    log = dataclasses.replace(
        log, provenance=dataclasses.replace(log.provenance, step_epoch=epochs)
    )
    whole = judge(RunLog(log))
    assert fed(log, sizes) == whole
    assert len(whole.seams) == whole.seam_count == whole.seam_jump.count
    if span == 50:
        assert [s.part for s in whole.sections] == [0, 1, 2, 0, 1, 2, 3]
    assert sum(s.records for s in whole.sections) == len(log)


def test_spans_change_what_is_compared_with_but_not_what_is_measured(monkeypatch):
    log = log_of(sine(600) + 0.01 * np.sin(np.arange(600)))
    whole = judge(RunLog(log))
    monkeypatch.setattr(MODULE, "SPAN", 100)
    spans = judge(RunLog(log))
    assert len(spans.sections) == 6
    for name in ("steps", "ticks", "starved_ticks", "misplaced_steps", "seam_count"):
        assert getattr(spans, name) == getattr(whole, name)
    for name in ("seam_jump", "seam_excess", "seam_acceleration", "seam_jerk", "ordinary_jerk"):
        assert getattr(spans, name) == getattr(whole, name)
    assert spans.duration_s == pytest.approx(whole.duration_s)
    assert spans.rate_hz == pytest.approx(whole.rate_hz)


# Speed, acceleration and jerk, by joint


def test_speed_acceleration_and_jerk_of_a_known_jump():
    motion = np.stack([ramp(), 0.5 * ramp()], axis=1)
    motion[100:, 0] += 0.3
    report = judge(RunLog(log_of(motion)))
    one, two = report.joints
    assert one.ordinary_speed.median == pytest.approx(0.01 / 0.02)
    assert one.seam_speed.max == report.seam_speed.max == pytest.approx(0.31 / 0.02)
    assert one.seam_acceleration.max == pytest.approx(0.3 / 0.02**2)
    assert one.seam_jerk.max == report.seam_jerk.max == pytest.approx(2 * 0.3 / 0.02**3)
    assert one.ordinary_jerk.max == pytest.approx(0.0, abs=1e-6)
    assert two.seam_speed.max == pytest.approx(0.005 / 0.02)
    assert two.seam_jerk.max == pytest.approx(0.0, abs=1e-6)


def test_jerk_of_a_known_sine():
    report = judge(RunLog(log_of(sine())))
    omega = 2 * np.pi * 0.25
    assert report.ordinary_jerk.max == pytest.approx(0.5 * omega**3, rel=5e-3)
    assert report.joints[0].ordinary_acceleration.max == pytest.approx(0.5 * omega**2, rel=1e-3)


def test_commands_alone_have_speed_acceleration_and_jerk():
    log = dataclasses.replace(log_of(sine()), provenance=None, wanted=None)
    report = judge(RunLog(log))
    omega = 2 * np.pi * 0.25
    assert report.ordinary_speed.max == pytest.approx(0.5 * omega, rel=1e-3)
    assert report.ordinary_jerk.max == pytest.approx(0.5 * omega**3, rel=5e-3)
    assert report.ldlj is not None and report.sparc is not None
    assert report.seam_count == 0 and report.seam_speed is None


def test_late_ticks_are_counted():
    late = np.full(200, 100.0)
    late[[5, 80]] = 6000.0
    assert judge(RunLog(log_of(ramp(), lateness_us=late))).late_ticks == 2
