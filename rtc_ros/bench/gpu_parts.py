"""What the parts of `rtc_ros bench gpu` measure, on `rtc_ros bench inference`'s contenders."""

from __future__ import annotations

import copy
import gc
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from rtc_ros.bench import inference_contenders as names
from rtc_ros.bench.gpu_costs import CARDS, AsOneKernel, Cost, count
from rtc_ros.bench.gpu_worker import Out
from rtc_ros.bench.inference_contenders import Contender, Contest
from rtc_ros.bench.inference_models import full_size_parts, small_parts
from rtc_ros.bench.inference_phases import Timer, measure, operations_per_step, resident_bytes
from rtc_ros.core.strategies import TRAINED
from rtc_ros.policy.families import SMOLVLA
from rtc_ros.policy.fast import linear
from rtc_ros.policy.fast.elementwise import ByOperations, Fused
from rtc_ros.policy.guidance import integrate

CAMERAS, DELAY, STRIDE = 3, 5, 25
EAGER, GRAPHS = "one by one", "graphs"
NO_DEVICE = "there is no CUDA device"
OURS = {
    names.FAST: names.PLAIN,
    names.TRAINED_PREFIX: names.LEROBOT_PREFIX,
    names.GUIDED: names.VJP,
    names.IDENTITY: names.LEROBOT_IDENTITY,
}
"""Each of ours, and what makes the same chunk by LeRobot's code."""
LOOPS = {"unguided": "", "trained prefix": TRAINED, "guided": "vjp"}
_SEEDS = range(4)
_SHARE = 4.0
"""How much more of the time one of LeRobot's gets than one of ours, being so much slower."""


class Context:
    """One policy of random weights, three cameras, in any precision, on the device there is."""

    def __init__(self, size: str) -> None:
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.cuda = self.device.type == "cuda"
        self.full = size == "full" or (size == "auto" and self.cuda)
        self._parts: dict[torch.dtype, tuple[Any, Any, Any]] = {}
        if not self.cuda:
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    def parts(self, dtype: torch.dtype) -> tuple[Any, Any, Any]:
        """Return policy and processors; the weights are the same in each precision."""
        if not self._parts:
            make = full_size_parts if self.full else small_parts
            with TemporaryDirectory() as folder:
                made = make(Path(folder), CAMERAS, str(self.device), "float32")
            self._parts[torch.float32] = made
        if dtype not in self._parts:
            policy, pre, post = self._parts[torch.float32]
            policy = copy.deepcopy(policy)
            SMOLVLA.pin_dtypes(policy, dtype)
            self._parts[dtype] = policy, pre, post
        return self._parts[dtype]

    def contest(self, cameras: int, dtype: torch.dtype, *, ready: bool = True) -> Contest:
        """Return the contenders with the first of the cameras; ``ready``: warmed up, with graphs.

        Also on the CPU language is padded, as graphs want it.
        """
        parts = self.parts(dtype)
        left_out = sorted(parts[0].config.image_features)[cameras:]
        contest = Contest(parts, DELAY, STRIDE, leave_out=left_out, padded=True)
        if ready:
            contest.fast.warm_up()
        return contest

    def launches(self, contest: Contest) -> list[tuple[str, Any]]:
        """Return the ways of launching that there are here, and how to enter each."""
        ways: list[tuple[str, Any]] = [(EAGER, contest.field.eager)]
        return [*ways, (GRAPHS, nullcontext)] if self.cuda else ways

    def rounds(self, end_s: float) -> Iterator[int]:
        """Count three rounds; on a device up to 50, until ``time.monotonic()`` is ``end_s``."""
        for turn in range(50 if self.cuda else 3):
            if turn >= 3 and time.monotonic() > end_s:
                break
            yield turn

    def milliseconds(self, run: Callable[[], object], end_s: float) -> list[float]:
        """Return the time [ms] of each round, by CUDA events where there is a device.

        The first are unmeasured. ``end_s`` is that of ``rounds``.
        """
        for _ in range(2 if self.cuda else 1):
            run()
        one = self._one_by_events if self.cuda else self.one
        return [one(run) for _ in self.rounds(end_s)]

    def one(self, run: Callable[[], object]) -> float:
        """Return what one run takes, the waiting for the device with it [ms]."""
        now = Timer(self.device).now
        start = now()
        run()
        return 1e3 * (now() - start)

    def _one_by_events(self, run: Callable[[], object]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    @property
    def clock(self) -> str:
        """How times are taken."""
        return "CUDA events" if self.cuda else "the CPU's clock, at a small size"


context = cache(Context)
"""The context of this process."""


def run(part: str, ctx: Context, out: Out) -> None:
    """Run one part; leave no memory taken to the next."""
    try:
        PARTS[part](ctx, out)
    finally:
        gc.collect()
        if ctx.cuda:
            torch.cuda.empty_cache()


# ------------------------------------------------------------------------------- equality


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    own = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = own


def equality(ctx: Context, out: Out) -> None:
    """Compare every path with LeRobot's code, on this device.

    Float32 without TF32 must be LeRobot's but for the order of sums. In the other precisions
    LeRobot's own code is off its float32: ours must be no farther off than 1.2 times that.
    """
    with _tf32(False):
        exact = _lerobot_chunks(ctx.contest(1, torch.float32))
    precisions = (
        ("float32", torch.float32, False),
        ("bfloat16", torch.bfloat16, False),
        ("float32 with TF32", torch.float32, True),
    )
    for label, dtype, tf32 in precisions:
        if tf32 and not ctx.cuda:
            out.row(label, reason=f"TF32 is of CUDA devices, and {NO_DEVICE}")
            continue
        with _tf32(tf32):
            contest = ctx.contest(1, dtype)
            everyone = contest.everyone()
            theirs = exact if label == "float32" else _lerobot_chunks(contest)
            for launch, entered in ctx.launches(contest):
                for name in OURS:
                    with entered():
                        got = [everyone[name].run(seed) for seed in _SEEDS]
                    off = _mean_apart(got, exact[name])
                    own = _mean_apart(theirs[name], exact[name])
                    limit = 1.2 * own if own else (1e-4 if name == names.FAST else 1e-3)
                    out.row(
                        f"{name}, {label}, {launch}",
                        off=off,
                        **({"LeRobot's own": own} if own else {}),
                        limit=limit,
                        holds=off <= limit,
                    )
    if not ctx.cuda:
        out.row(f"every path as {GRAPHS}", reason=NO_DEVICE)


def _lerobot_chunks(contest: Contest) -> dict[str, list[np.ndarray]]:
    """Return what LeRobot's code makes of each seed for each of ours."""
    everyone = contest.everyone()
    return {ours: [everyone[name].run(seed) for seed in _SEEDS] for ours, name in OURS.items()}


def _mean_apart(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the mean over the seeds of the largest difference by the largest entry."""
    each = [abs(g - e).max() / abs(e).max() for g, e in zip(got, expected, strict=True)]
    return float(np.mean(each))


# --------------------------------------------------------------------------- whole chunks


def chunks(cameras: int, ctx: Context, out: Out) -> None:
    """Time whole chunks, from an observation to rows in the policy's units, in bfloat16."""
    dtype = torch.bfloat16
    contest = ctx.contest(cameras, dtype)
    out.where(model=contest.describe(), clock=ctx.clock, precision="bfloat16 where none is named")
    out.where(norms="by fused kernels" if _is_fused(contest) else "by PyTorch's operations")
    everyone = contest.everyone()
    runs: list[tuple[str, str, Any]]
    runs = [(name, EAGER, nullcontext) for name in names.COMPARED if name not in OURS]
    runs += [(name, *way) for name in OURS for way in ctx.launches(contest)]
    shares = [1.0 if name in OURS else _SHARE for name, *_ in runs] * 2
    for num_steps in (10, 5):
        plain = 0.0
        with contest.steps(num_steps):
            for name, launch, entered in runs:
                seconds = max(out.left() - 1.0, 0.0) * shares[0] / sum(shares)
                shares.pop(0)
                with entered():
                    row = _chunk_row(ctx, everyone[name], seconds)
                plain = plain or row["median ms"]  # LeRobot's is the first
                row["÷ LeRobot plain"] = row["median ms"] / plain
                out.row(f"{name}, {launch}, n = {num_steps}", **row)
    if not ctx.cuda:
        out.row(f"ours as {GRAPHS}", reason=NO_DEVICE)


def _chunk_row(ctx: Context, contender: Contender, seconds: float) -> dict[str, Any]:
    if ctx.cuda:
        torch.cuda.reset_peak_memory_stats(ctx.device)
    seeds = itertools.count()
    spent = ctx.milliseconds(lambda: contender.run(next(seeds)), time.monotonic() + seconds)
    row: dict[str, Any] = {
        "median ms": median(spent),
        "p90 ms": float(np.quantile(spent, 0.9)),
        "rounds": len(spent),
    }
    if ctx.cuda:
        row["peak MiB"] = torch.cuda.max_memory_allocated(ctx.device) >> 20
    return row


# ----------------------------------------------------------------------- parts of a chunk


def phases(ctx: Context, out: Out) -> None:
    """Time vision, prefix and loop by themselves, two cameras, n = 10, bfloat16."""
    contest = ctx.contest(2, torch.bfloat16)
    everyone = contest.everyone()
    for name in (names.PLAIN, names.VJP, names.FAST, names.TRAINED_PREFIX, names.GUIDED):
        with contest.field.eager():
            run = partial(everyone[name].run, 0)
            run()
            until = time.monotonic() + max(out.left() - 5.0, 0.0) / 6
            watched = everyone[name].phases
            times = [measure(run, watched, ctx.device) for _ in ctx.rounds(until)]
        row = {f"{phase} ms": 1e3 * median(t[phase] for t in times) for phase in times[0]}
        out.row(f"{name}, {EAGER}, with waits between", **row, rounds=len(times))
    for launch, entered in ctx.launches(contest):
        with entered():
            until = time.monotonic() + max(out.left() - 2.0, 0.0) / 4
            prefix = ctx.milliseconds(_prefix(contest), until)
            vision = ctx.milliseconds(_vision(contest), until + 2.0)
            out.row(
                f"ours, {launch}",
                **{"vision ms": median(vision), "vision and prefix ms": median(prefix)},
                **_loops(ctx, contest),
            )
    if _is_fused(contest):
        _set_ops(contest, lambda ops: ByOperations())
        contest.field.warm_up()  # takes new graphs
        out.row(f"ours, {GRAPHS}, unfused", **_loops(ctx, contest))
    else:
        out.row("ours, fused", reason=NO_DEVICE if not ctx.cuda else "no fused kernels: log.txt")
    if not ctx.cuda:
        out.row(f"ours as {GRAPHS}", reason=NO_DEVICE)


def _is_fused(contest: Contest) -> bool:
    return isinstance(contest.field.expert._layers[0].ops, Fused)


def _set_ops(contest: Contest, change: Callable[[Any], Any]) -> None:
    """Change how the expert and its layers compute norms and gates."""
    expert = contest.field.expert
    computing: list[Any] = [expert, *expert._layers]
    for each in computing:
        each.ops = change(each.ops)


def _prefix(contest: Contest) -> Callable[[], object]:
    return partial(contest.field.encode, contest.batch())


def _vision(contest: Contest) -> Callable[[], object]:
    field = contest.field
    images = field.prefix.gather(contest.batch()).images

    def encode(*images: torch.Tensor) -> torch.Tensor:
        return torch.cat(field.prefix.vision.encode(list(images)))

    @torch.no_grad()
    def run_vision() -> object:
        return field.run(("vision", len(images)), encode, *images)

    return run_vision


def _loops(ctx: Context, contest: Contest) -> dict[str, float]:
    """Return the time of the denoising loop, however it is sampled [ms]."""
    velocity = contest.field(contest.batch())
    until = time.monotonic() + 2.0
    found = {}
    for label, how in LOOPS.items():
        loop = _loop(ctx, contest, velocity, how, 10)
        found[f"{label} loop ms"] = median(ctx.milliseconds(loop, until))
    return found


def _loop(
    ctx: Context, contest: Contest, velocity: Any, how: str, num_steps: int
) -> Callable[[], object]:
    """Return a denoising loop: guided on every row, or with the first d given."""
    noise = contest.fast.noise(0)
    rows = torch.arange(noise.shape[1], device=ctx.device)[:, None]
    given: tuple[torch.Tensor, ...] = ()
    if how == TRAINED:
        given = (rows < DELAY, noise.new_zeros(()))
    elif how:
        given = (0.5 * noise, torch.ones_like(rows, dtype=noise.dtype), noise.new_ones(num_steps))
    return partial(integrate, velocity, noise, num_steps, how, *given)


# --------------------------------------------------------------------------- kernels


def kernels(ctx: Context, out: Out) -> None:
    """Count what a step launches: operations dispatched, and the device's kernels."""
    contest = ctx.contest(2, torch.bfloat16)
    everyone = contest.everyone()
    with contest.field.eager():
        for name in (*names.COMPARED, names.IDENTITY):
            steps = everyone[name].steps
            steps(1)  # a new sentence costs operations, too
            row: dict[str, Any] = {"operations a step": operations_per_step(steps)}
            if ctx.cuda:
                few, many = (_profile(partial(steps, n)) for n in (1, 3))
                if many[0]:
                    row["kernels a step"] = (many[0] - few[0]) / 2
                    row["their time a step, ms"] = (many[1] - few[1]) / 2
                else:
                    row["reason"] = "the profiler was shown no kernel"
            out.row(name, **row)
            if ctx.cuda and name == names.GUIDED:
                for kernel, calls, ms in many[2]:
                    out.row(f"kernel {kernel[:70]}", calls=calls, **{"of 3 steps' chunk, ms": ms})
    if not ctx.cuda:
        out.row("the device's kernels", reason=NO_DEVICE)


def _profile(run: Callable[[], object]) -> tuple[int, float, list[tuple[str, int, float]]]:
    """Return number and time [ms] of the kernels, and those that take most of it."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    run()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    found: dict[str, list[float]] = defaultdict(list)
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            found[event.name].append(event.time_range.elapsed_us() / 1e3)
    most = sorted(((n, len(ms), sum(ms)) for n, ms in found.items()), key=lambda e: -e[2])
    return sum(e[1] for e in most), sum(e[2] for e in most), most[:12]


# ------------------------------------------------------------------- what is paid once


def once(ctx: Context, out: Out) -> None:
    """Time the first chunk after a change by the usual one: capture, steps, sentence, Jacobian."""
    contest = ctx.contest(2, torch.bfloat16)
    fast, guidance, observation = contest.fast, contest.guidance, contest.observation
    longer = replace(observation, task=observation.task + ", slowly")
    identity = replace(guidance, jacobian="identity")
    infer = fast.infer

    def usual() -> object:
        return infer(observation, guidance, num_steps=10, seed=0)

    before = resident_bytes(ctx.device)
    contest.field.warm_up()
    unguided = ctx.one(lambda: infer(observation, None, num_steps=10, seed=0))
    guided = ctx.one(usual)
    ordinary = median([ctx.one(usual) for _ in range(5)])
    changes: dict[str, Callable[[], object]] = {
        "num_steps 10 → 7": lambda: infer(observation, guidance, num_steps=7, seed=0),
        "a longer sentence": lambda: infer(longer, guidance, num_steps=10, seed=0),
        "jacobian vjp → identity": lambda: infer(observation, identity, num_steps=10, seed=0),
    }

    def tell(what: str, first: float, again: float) -> None:
        out.row(what, **{"first ms": first, "again ms": again, "once ms": first - again})

    out.row("the usual guided chunk", **{"first ms": ordinary, "again ms": ordinary})
    captures = {"prefix and unguided loop are captured": unguided, "guided loop": guided}
    for what, first in captures.items():
        if ctx.cuda:
            tell(f"capture: {what}", first, ordinary)
        else:
            out.row(f"capture: {what}", reason=NO_DEVICE)
    for what, run_changed in changes.items():
        first = ctx.one(run_changed)
        tell(what, first, median([ctx.one(run_changed) for _ in range(3)]))
    if ctx.cuda:
        out.row("memory: LeRobot's weights", MiB=contest.weight_bytes >> 20)
        out.row("memory: the fast path's own", MiB=int(contest.packed_bytes) >> 20)
        out.row("memory: graphs", MiB=(resident_bytes(ctx.device) - before) >> 20)
        out.row("memory: reserved", MiB=torch.cuda.memory_reserved(ctx.device) >> 20)
    else:
        out.row("memory", reason=NO_DEVICE)


# ------------------------------------------------------------------- the floors


def expected(ctx: Context, out: Out) -> None:
    """Count what each part of a chunk moves and computes; say what cards should take for it."""
    found, unfused = costs(ctx, fused=True), costs(ctx, fused=False)
    found |= {f"{what}, unfused": c for what, c in unfused.items() if "vision" not in what}
    for what, cost in found.items():
        cells: dict[str, Any] = {
            "kernels": cost.kernels,
            "read MB": cost.read_bytes / 1e6,
            "touched MB": cost.touched_bytes / 1e6,
            "GFLOP": cost.flops / 1e9,
        }
        for card in CARDS:
            least, most = cost.in_a_graph_s(card)
            cells[f"{card.name}: floor, ms"] = 1e3 * cost.floor_s(card)
            cells[f"{card.name}: expected, ms, from"] = 1e3 * least
            cells[f"{card.name}: to"] = 1e3 * most
        cells["kinds"] = ", ".join(f"{n} {name}" for name, n in cost.names.most_common())
        out.row(what, **cells)


def costs(ctx: Context, *, fused: bool) -> dict[str, Cost]:
    """Return the cost of each part of a chunk of two cameras, bfloat16, as on a CUDA device.

    ``fused`` says whether Triton's kernels are there.
    """
    with linear.unpacked():
        contest = ctx.contest(2, torch.bfloat16, ready=False)
    field = contest.field
    field.prefix.vision.together = True
    _set_ops(contest, AsOneKernel if fused else lambda ops: ByOperations())
    with field.eager():
        velocity = field(contest.batch())

        def loop(num_steps: int, how: str) -> Cost:
            if num_steps == 1:  # rooms are made in the first
                _loop(ctx, contest, velocity, how, 1)()
            contest.field.expert.times(num_steps)
            return count(_loop(ctx, contest, velocity, how, num_steps))

        vision = count(_vision(contest))
        prefix = count(_prefix(contest)) - vision
        found = {"vision": vision, "prefix without vision": prefix}
        for label, how in LOOPS.items():
            one = loop(1, how)
            step = loop(2, how) - one
            ten = sum([step] * 9, one)
            found[f"a step, {label}"] = step
            found[f"ten steps, {label}"] = ten
            found[f"the chunk, {label}"] = vision + prefix + ten
    return found


# --------------------------------------------------------------------------- compiled


def compiled(ctx: Context, out: Out) -> None:
    """Time LeRobot's plain chunk compiled by torch, in two modes, as its own option does it."""
    contest = ctx.contest(2, torch.bfloat16)
    plain = contest.everyone()[names.PLAIN]
    own = contest.policy.model.sample_actions
    for mode in ("default", "max-autotune"):
        what = f"LeRobot plain, compiled ({mode}), n = 10"
        if out.left() < 10.0:
            out.row(what, reason=f"{out.left():.0f} s were left")
            continue
        torch._dynamo.reset()
        contest.policy.model.sample_actions = torch.compile(own, mode=mode)
        try:
            first = ctx.one(lambda: plain.run(0))
            out.row(what, **{"compiling and first ms": first}, **_chunk_row(ctx, plain, 5.0))
        except Exception as error:  # of torch's compiler, about LeRobot's code: not ours to mend
            out.row(what, reason=f"{type(error).__name__}: {error}"[:300])
        finally:
            contest.policy.model.sample_actions = own


PARTS: dict[str, Callable[[Context, Out], None]] = {
    "equality": equality,
    "chunks of 1 camera": partial(chunks, 1),
    "chunks of 2 cameras": partial(chunks, 2),
    "chunks of 3 cameras": partial(chunks, 3),
    "phases": phases,
    "kernels": kernels,
    "once": once,
    "expected": expected,
    "compiled": compiled,
}
