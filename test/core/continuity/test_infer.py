"""Provenance found again where it was taken away, and not made up where there is none."""

import dataclasses

import numpy as np
import pytest

from rtc_ros.core.chunk import NO_STEP
from rtc_ros.core.continuity import RunLog, judge
from rtc_ros.core.continuity.infer import with_origins
from rtc_ros.core.cursor import Mode
from rtc_ros.report.example_run import ExampleSettings, example_run


def bare(run):
    """Return the run's commands as such, and its chunks with the times at which they came."""
    log, origin = run.commands, run.commands.provenance
    chunks = []
    for chunk in run.chunks:
        used = np.flatnonzero((origin.chunk_seq == chunk.seq) & (origin.row >= 0))
        if len(used):
            chunks.append((int(log.stamp_ns[used[0]]) - 1, np.array(chunk.actions)))
    return dataclasses.replace(log, provenance=None, wanted=None), chunks


@pytest.mark.parametrize("guided", [True, False])
def test_rows_and_seams_are_those_that_were_recorded(guided):
    run = example_run(ExampleSettings(ticks=400, guided=guided))
    log, chunks, share = with_origins(*bare(run))
    executed = run.commands.provenance.row != NO_STEP
    assert np.array_equal(log.provenance.row, run.commands.provenance.row)
    assert np.array_equal(log.provenance.step[executed], run.commands.provenance.step[executed])
    assert share > 0.98
    found, known = judge(RunLog(log, chunks=chunks, inferred=share)), judge(run)
    assert [s.step for s in found.seams] == [s.step for s in known.seams]
    assert found.seam_excess == known.seam_excess
    assert [s.delay_observed for s in found.seams] == [s.delay_observed for s in known.seams]
    assert found.under_forecast is None and found.lateness_us is None and found.stride is None
    assert {s.guided for s in found.seams} == {None}
    assert found.misplaced_steps == 0
    assert "inferred" in found.unknown[0]


def test_starving_is_a_command_that_repeats():
    run = example_run(ExampleSettings(ticks=400, delays=(5, 25), horizon=20))
    log, chunks, share = with_origins(*bare(run))
    held = log.provenance.mode == Mode.STARVED
    assert held.sum() == judge(run).starved_ticks > 0
    assert judge(RunLog(log, chunks=chunks, inferred=share)).starved_ticks == held.sum()


def test_a_command_that_was_changed_on_its_way_goes_on_in_its_chunk():
    run = example_run(ExampleSettings(ticks=200))
    log, chunks = bare(run)
    command = log.command.copy()
    command[120] += 0.01
    found, _, _ = with_origins(dataclasses.replace(log, command=command), chunks)
    assert found.provenance.row[120] == run.commands.provenance.row[120]
    assert found.provenance.limited[120] == 1 and found.provenance.limited.sum() == 1


def test_commands_of_something_else_are_not_explained():
    run = example_run(ExampleSettings(ticks=200))
    log, chunks = bare(run)
    noise = np.random.default_rng(0).normal(0, 1, log.command.shape)
    assert with_origins(dataclasses.replace(log, command=noise), chunks) is None
    assert with_origins(log, []) is None
    late = [(at + 10**12, rows) for at, rows in chunks]
    assert with_origins(log, late) is None, "a chunk explains nothing before it came"
