"""Ways to make set points between rows, side by side: the tables of docs/smoothness.md.

    python3 scripts/compare_set_points.py
    python3 scripts/compare_set_points.py --rows rows.npz  # of `rtc_ros bench smooth --rows`

500 rows of six joints at 25 Hz, ten set points each, 2.5 rad/s and 8 rad/s². `jerk` is the RMS of
what is sent [rad/s³], `off` the RMS distance of the set points at row times from the rows [mrad],
`acceleration` the worst relative to the limit. Ruckig is tried where it can be imported.

With rows of a policy the simulated arms are sent the package's set points and curves that know all
rows beforehand, without limits: the jerk of the joints, relative to one command per row.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rtc_ros.core import set_points
from rtc_ros.core.limits import JointLimits, limit_row, limit_rows
from rtc_ros.core.set_points import Motion, SetPoints

DT, M, ROWS, A = 0.04, 10, 500, 6
LIMITS = JointLimits.from_velocity([-3.0] * A, [3.0] * A, [2.5] * A, DT, [8.0] * A)
FINE = LIMITS.per_point(M)


def this_one(rows: np.ndarray, periods: int = set_points.PERIODS) -> np.ndarray:
    """Return the set points of the package, with quintics of up to so many ``periods``."""
    path, motion, out = SetPoints(LIMITS, M), Motion.resting(rows[0]), []
    before, set_points.PERIODS = set_points.PERIODS, periods
    for k in range(1, len(rows)):
        out.append(path.play(rows, k, motion))
        motion = motion.after(out[-1])
    set_points.PERIODS = before
    return np.concatenate(out)


def one_quintic(rows: np.ndarray, cut: bool) -> np.ndarray:
    """Return one quintic per row, ``cut`` by the limiter or as it is."""
    free = SetPoints(JointLimits.none(A), M)
    path, motion, out = SetPoints(LIMITS, M), Motion.resting(rows[0]), []
    for k in range(1, len(rows)):
        wanted = free._wanted(rows, k, motion, 1.0)
        out.append(path._limited(wanted, motion, 1.0) if cut else wanted[:-1])
        motion = motion.after(out[-1])
    return np.concatenate(out)


def limiter_alone(rows: np.ndarray) -> np.ndarray:
    """Return what the limiter makes of the line through each row."""
    at, step, out = rows[0], np.zeros(A), []
    for k in range(1, len(rows)):
        onward = (rows[min(k + 1, len(rows) - 1)] - rows[k - 1]) / (2 * M)
        for i in range(1 - M, 1):
            line = rows[k] + i * onward
            point = limit_row(line, at, FINE, 1.0, step, line + onward)
            at, step = point, point - at
            out.append(point)
    return np.array(out)


def spline(rows: np.ndarray) -> np.ndarray:
    """Return a cubic B-spline of the limited rows: three means over a period."""
    limited = limit_rows(rows[1:], rows[0], LIMITS, 1.0, np.zeros(A))
    out = np.repeat(limited, M, axis=0)
    for _ in range(3):
        padded = np.concatenate([np.tile(rows[0], (M, 1)), out]).cumsum(axis=0)
        out = (padded[M:] - padded[:-M]) / M
    return out


def ruckig(rows: np.ndarray) -> np.ndarray:
    """Return time-optimal motion to each row, with its velocity and acceleration."""
    module: Any = importlib.import_module("ruckig")
    made = module.Ruckig(A, DT / M)
    given, told = module.InputParameter(A), module.OutputParameter(A)
    speed, acceleration = LIMITS.max_step / DT, LIMITS.max_bend / DT**2
    jerk = 50 * acceleration
    given.max_velocity, given.max_acceleration = list(speed * 1.001), list(acceleration)
    given.max_jerk, given.minimum_duration = list(jerk), DT
    given.current_position = list(rows[0])
    given.current_velocity = given.current_acceleration = [0.0] * A
    given.synchronization = module.Synchronization.No
    out, last = [], np.array(rows[0])
    for k in range(1, len(rows)):
        after = rows[min(k + 1, len(rows) - 1)]
        v = np.clip((after - rows[k - 1]) / 2 / DT, -speed, speed)
        a = np.clip((after - 2 * rows[k] + rows[k - 1]) / DT**2, -acceleration, acceleration)
        most = np.sqrt(2 * jerk * (speed - np.abs(v)))
        given.target_position, given.target_velocity = list(rows[k]), list(v)
        given.target_acceleration = list(np.clip(a, -most, most))
        for _ in range(M):
            if made.update(given, told) >= 0:
                last = np.array(told.new_position)
                told.pass_to_input(given)
            out.append(last)
    return np.array(out)


def figures(out: np.ndarray, rows: np.ndarray) -> str:
    """Return jerk, distance at row times and the worst acceleration."""
    path = np.concatenate([np.tile(rows[0], (3, 1)), out])
    bends, twists = np.diff(path, 2, axis=0), np.diff(path, 3, axis=0)
    jerk = np.sqrt((twists**2).mean()) / (DT / M) ** 3
    off = np.sqrt(((out[M - 1 :: M] - rows[1:]) ** 2).mean()) * 1e3
    return f"{jerk:.0f}, {off:.1f}, {np.abs(bends / FINE.max_bend).max():.2f}"


def curves(rows: np.ndarray, m: int) -> dict[str, np.ndarray]:
    """Return what ``rows`` [R, A] become with m set points each, [(R − 1) m, A]."""
    from scipy.interpolate import CubicSpline, make_interp_spline
    from scipy.ndimage import gaussian_filter1d

    at, between = np.arange(len(rows)), np.arange(1, (len(rows) - 1) * m + 1) / m
    path, motion, ours = SetPoints(JointLimits.none(rows.shape[1]), m), Motion.resting(rows[0]), []
    for k in range(1, len(rows)):
        ours.append(path.play(rows, k, motion))
        motion = motion.after(ours[-1])
    spline = CubicSpline(at, rows)(between)
    return {
        "this one": np.concatenate(ours),
        "cubic spline through all rows (C²)": spline,
        "quintic spline through all rows (C⁴)": make_interp_spline(at, rows, 5)(between),
        "lines from row to row": make_interp_spline(at, rows, 1)(between),
        "that cubic spline, smoothed over 2 rows": gaussian_filter1d(spline, 2 * m, axis=0),
    }


def on_the_arms(all_rows: np.ndarray) -> None:
    """Print the table of the simulated arms: each way, three policies, two rates."""
    from rtc_ros.bench.smooth import PHYSICS_S, RATES_HZ, ROW_S, STRIDES, free_arms

    def jerk(points: np.ndarray, point_s: float) -> float:
        robot, arms = free_arms(all_rows[0])
        found = []
        for point in points:
            robot.command(point)
            for _ in range(round(point_s / PHYSICS_S)):
                robot.step(1)
                found.append(robot.accelerations()[arms])
        return float(np.sqrt((np.diff(found, axis=0) ** 2).mean())) / PHYSICS_S

    columns, table = [], {}
    for stride in STRIDES:
        rows, period_s = all_rows[::stride], ROW_S * stride
        today = jerk(rows, period_s)
        for hz in RATES_HZ[1:]:
            columns.append(f"{1 / period_s:.0f} Hz at {hz} Hz")
            for name, points in curves(rows, round(hz * period_s)).items():
                table.setdefault(name, []).append(f"{jerk(points, 1 / hz) / today:.3f}")
    print("| set points | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, cells in table.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Print the table: jerk, off, acceleration for each kind of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", help="a .npz of `rtc_ros bench smooth --rows`")
    if (found := parser.parse_args().rows) is not None:
        return on_the_arms(np.load(found)["rows"])
    chance, at_s = np.random.default_rng(0), np.arange(ROWS) * DT
    waves = ((0.2, 0.5), (0.5, 0.15), (1.1, 0.04))
    smooth = np.sum(
        [
            size * np.sin(2 * np.pi * at_s[:, None] * hz * chance.uniform(0.7, 1.3, A)
                          + chance.uniform(0, 6, A))
            for hz, size in waves
        ], axis=0,
    )  # fmt: skip
    smooth = (smooth - smooth[0]) * np.minimum(1, at_s)[:, None] ** 2
    kinds = {
        "smooth rows": smooth,
        "5 mrad of noise": smooth + chance.normal(0, 0.005, smooth.shape),
        "seams of 0.05 rad": smooth + np.repeat(chance.normal(0, 0.05, (ROWS // 20, A)), 20, 0),
    }
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "this one": this_one,
        "one quintic per row, else the limiter on the line": lambda r: this_one(r, 1),
        "one quintic per row, cut by the limiter": lambda r: one_quintic(r, cut=True),
        "one quintic per row, no limit": lambda r: one_quintic(r, cut=False),
        "the limiter alone, on the line": limiter_alone,
        "cubic B-spline of the rows": spline,
        "Ruckig": ruckig,
    }
    print("| construction | " + " | ".join(kinds) + " |\n" + "|---" * (len(kinds) + 1) + "|")
    for name, way in ways.items():
        with contextlib.suppress(ModuleNotFoundError):
            cells = [figures(way(rows), rows) for rows in kinds.values()]
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
