"""What was recorded of a run, as arrays: the input of every continuity figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from rtc_ros.core.chunk import NO_STEP, ActionChunk
from rtc_ros.core.cursor import Mode


@dataclass(frozen=True, eq=False)
class Provenance:
    """Where each of N commands came from: int64[N] each, ``lateness_us`` float64[N].

    A hold has ``row`` NO_STEP and the awaited step as ``step``; ``limited`` counts joints that
    the limits changed. The other names are those of the step cursor.
    """

    step: np.ndarray
    tick: np.ndarray
    row: np.ndarray
    origin_step: np.ndarray
    chunk_epoch: np.ndarray
    chunk_seq: np.ndarray
    step_epoch: np.ndarray
    limited: np.ndarray
    lateness_us: np.ndarray
    mode: np.ndarray

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the fields in their order."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def from_columns(cls, columns: np.ndarray) -> Provenance:
        """Make it from float64[N, 10] in the order of ``names()``; NaN counts as NO_STEP."""
        columns = np.nan_to_num(columns, nan=NO_STEP, posinf=NO_STEP, neginf=NO_STEP)
        kinds = [np.float64 if n == "lateness_us" else np.int64 for n in cls.names()]
        return cls(*(columns[:, i].astype(k) for i, k in enumerate(kinds)))


@dataclass(frozen=True, eq=False)
class CommandLog:
    """N commands in the order they were sent, for A ``joints``.

    ``stamp_ns`` int64[N] is the tick's time. ``command`` float64[N, A] went out to the arm,
    ``wanted`` float64[N, A] is the same as the chunk had it before the limits (None: unknown).
    ``reason`` [N] holds indices into ``reasons``. Without ``provenance`` these are just commands.
    """

    joints: tuple[str, ...]
    stamp_ns: np.ndarray
    command: np.ndarray
    wanted: np.ndarray | None = None
    reason: np.ndarray | None = None
    reasons: tuple[str, ...] = ()
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        shape = (len(self.stamp_ns), len(self.joints))
        for name in ("command", "wanted"):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}, expected {shape}")

    def __len__(self) -> int:
        return len(self.stamp_ns)

    def held(self, mode: Mode, word: str) -> np.ndarray:
        """Return bool[N]: ticks held in ``mode`` (mode unknown: for a reason with ``word``)."""
        assert self.provenance is not None
        known = self.provenance.mode != NO_STEP
        codes = [i for i, text in enumerate(self.reasons) if word in text]
        says = np.isin(-1 if self.reason is None else self.reason, codes)
        return (self.provenance.row == NO_STEP) & np.where(
            known, self.provenance.mode == mode, says
        )


@dataclass(frozen=True)
class SwapEvent:
    """What the controller said about one seam; NO_STEP where there is no such thing."""

    step: int
    row: int = NO_STEP
    origin_step: int = NO_STEP
    chunk_epoch: int = NO_STEP
    chunk_seq: int = NO_STEP
    previous_epoch: int = NO_STEP
    previous_seq: int = NO_STEP
    previous_row: int = NO_STEP
    delay_forecast: int = NO_STEP
    delay_observed: int = NO_STEP
    stride: int = NO_STEP
    guided: bool = False
    step_epoch: int = NO_STEP
    held_ticks: int = 0


@dataclass(frozen=True, eq=False)
class JointLog:
    """M measured poses of the joints of a CommandLog: int64[M] and float64[M, A]."""

    stamp_ns: np.ndarray
    position: np.ndarray


@dataclass(frozen=True, eq=False)
class RunLog:
    """One recording. None means that the recording doesn't have it.

    ``chunks`` have their columns in the order of ``commands.joints``. ``notes`` are sentences
    about the recording itself (cut off, messages left out). ``settings`` are the inference
    side's settings with the time from which they held [ns]. ``inferred`` is the share of commands
    that were found in a chunk, where the provenance was not recorded. ``unmeasured`` is the
    sentence on why there are joint states that ``measured`` can't have.
    """

    commands: CommandLog
    swaps: Sequence[SwapEvent] | None = None
    chunks: Sequence[ActionChunk] | None = None
    measured: JointLog | None = None
    notes: tuple[str, ...] = ()
    settings: tuple[tuple[int, Mapping[str, object]], ...] = ()
    chunks_seen: int | None = None
    inferred: float | None = None
    unmeasured: str = ""

    @property
    def chunk_count(self) -> int | None:
        """How many chunks were recorded: those here, or more where some were dropped."""
        return None if self.chunks is None else self.chunks_seen or len(self.chunks)

    def missing(self) -> tuple[str, ...]:
        """Return the sentences about what this recording can't tell."""
        if self.commands.provenance is None:
            return (
                "no provenance with the commands: seams, starvation, misplaced steps, limits and "
                "lateness can't be told",
            )
        said = []
        if self.inferred is not None:
            return (
                "where the commands came from was inferred by comparing them with the chunks: "
                f"{self.inferred:.1%} are a row of one. A hold is a command that repeats the one "
                "before it; delay forecasts, strides, guidance, skipped steps and lateness can't "
                "be told",
            )
        if self.commands.wanted is None:
            said.append(
                "the rows before the limits weren't recorded: seams are judged as commanded, "
                "where limits may have smeared a jump over several steps"
            )
        if self.swaps is None:
            said.append(
                "no swap events: the observed delay is the row that its chunk was entered at"
            )
        if self.chunks is None:
            said.append(
                "no chunks: prefix mismatch, overlap disagreement and whether a row is its "
                "chunk's can't be told"
            )
        if self.swaps is None and self.chunks is None:
            said.append(
                "neither swap events nor chunks: delay forecasts and strides can't be told"
            )
        if self.measured is None:
            why = self.unmeasured or "no joint states"
            said.append(f"{why}: how the arm followed its commands can't be told")
        return tuple(said)
