"""What a trajectory controller makes between our points keeps the limits that the rows keep.

The evaluator is the test's own: joint_trajectory_controller's cubic through two points that have
velocities, sampled finely, also where one trajectory replaces another.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.controller import Controller, ahead
from rtc_ros.core.curve import knots
from rtc_ros.core.limits import JointLimits

DT, V, ACC = 0.02, 1.0, 8.0
WAY = 1.01
"""What may be above a limit: 1 %."""


def controller(jerk=None, lower=-3.0, upper=3.0):
    limits = JointLimits.from_velocity(
        [lower], [upper], [V], DT, [ACC], max_jerk=None if jerk is None else [jerk]
    )
    made = Controller(limits)
    made.start(1, np.zeros(1))
    return made


def sent(made):
    """Return what a driver of chunks is sent after this tick: knots, due 3 periods later."""
    state = made.state
    way = ahead(made.settings, state)
    places, speeds = knots(np.concatenate([state.targets[:-1], way, way[-1:], way[-1:]]))
    due = 3.0 + np.arange(len(places)) - 2  # periods after this tick
    return due, places[:, 0], speeds[:, 0]


def cubic(p, q, u, v, span, x):
    """Return place, velocity, acceleration at x in [0, 1] of the cubic over ``span`` periods."""
    a = 2 * (p - q) + (u + v) * span
    b = 3 * (q - p) - (2 * u + v) * span
    return (
        ((a * x + b) * x + u * span) * x + p,
        ((3 * a * x + 2 * b) * x) / span + u,
        (6 * a * x + 2 * b) / span**2,
    )


class Driver:
    """Plays what it was sent last, from where it was when that came."""

    def __init__(self):
        self.times, self.places, self.speeds = np.zeros(1), np.zeros(1), np.zeros(1)

    def at(self, t):
        if t >= self.times[-1]:
            return self.places[-1], 0.0, 0.0
        i = int(np.searchsorted(self.times, t, side="right"))
        span = self.times[i] - self.times[i - 1]
        return cubic(
            *self.places[i - 1 : i + 1], *self.speeds[i - 1 : i + 1],
            span, (t - self.times[i - 1]) / span,
        )  # fmt: skip

    def take(self, now, due, places, speeds):
        place, speed, _ = self.at(now)
        self.times = np.concatenate([[now], now + due])
        self.places = np.concatenate([[place], places])
        self.speeds = np.concatenate([[speed], speeds])


def driven(made, chunks, ticks_each):
    """Return a driver's motion over all ``chunks``, finely sampled: place, velocity, acceleration.

    One new trajectory with each, as rtc_controller sends it; units of a second.
    """
    driver, samples, tick, playing = Driver(), [], 0, False
    for seq, actions in enumerate(chunks, 1):
        origin = made.state.player.step
        made.offer(ActionChunk(actions, origin, step_epoch=1, epoch=1, seq=seq))
        for i in range(ticks_each):
            command = made.tick()
            if i == 0 or command.executes != playing:
                driver.take(tick, *sent(made))
            playing = command.executes
            samples += [driver.at(tick + x) for x in np.linspace(0, 1, 9)]
            tick += 1
    samples += [driver.at(t) for t in np.arange(tick, driver.times[-1] + 1, 0.11)]
    place, speed, acceleration = np.array(samples).T
    return place, speed / DT, acceleration / DT**2


shapes = st.tuples(st.integers(4, 30), st.just(1))
rows = arrays(float, shapes, elements=st.floats(-2.5, 2.5))


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4), st.integers(1, 25), st.sampled_from([None, 200.0]))
def test_velocity_and_acceleration_keep_their_limits_between_points_and_across_swaps(
    chunks, ticks_each, jerk
):
    place, speed, acceleration = driven(controller(jerk), chunks, ticks_each)
    assert np.abs(acceleration).max() <= WAY * ACC
    assert np.abs(speed).max() <= WAY * V
    assert np.abs(place).max() <= 3.0 + 1e-9


def test_an_ordinary_motion_uses_the_limit_and_does_not_exceed_it():
    """A policy's noise makes rows whose acceleration changes sign; central differences and a
    curve through the rows both gave more than twice the limit here."""
    t = DT * np.arange(1, 61)
    noise = np.random.default_rng(0).normal(0, 0.002, 60)
    ramp = (0.3 * np.sin(2 * np.pi * 0.5 * t) + noise)[:, None]
    _, _, acceleration = driven(controller(), [ramp], 60)
    assert 0.6 * ACC < np.abs(acceleration).max() <= WAY * ACC


def test_the_jerk_limit_holds_between_the_points_too():
    made = controller(jerk=200.0)
    _, _, acceleration = driven(made, [np.full((60, 1), 0.3)], 60)
    jerk = np.abs(np.diff(acceleration[:-60])) / (DT / 8)
    assert jerk.max() <= WAY * 200.0


def test_it_ends_at_rest_where_the_rows_end():
    made = controller()
    made.offer(ActionChunk(np.full((40, 1), 0.3), 0, step_epoch=1))
    for _ in range(5):
        made.tick()
    due, places, speeds = sent(made)
    way = ahead(made.settings, made.state)
    assert places[-1] == way[-1, 0] == 0.3 and speeds[-1] == 0.0
    np.testing.assert_allclose(np.diff(due), 1.0)


@settings(max_examples=60, deadline=None)
@given(arrays(float, (12, 2), elements=st.floats(-5, 5)))
def test_knots_are_those_of_the_uniform_cubic_b_spline(points):
    """Against de Boor's recursion at the knots: scipy's is the independent one."""
    from scipy.interpolate import BSpline

    spline = BSpline(np.arange(-3.0, len(points) + 1.0), points, 3)
    places, velocities = knots(points)
    at = np.arange(0.0, len(places))
    np.testing.assert_allclose(places, spline(at), atol=1e-12)
    np.testing.assert_allclose(velocities, spline.derivative()(at), atol=1e-12)
    np.testing.assert_allclose(
        points[2:] - 2 * points[1:-1] + points[:-2], spline.derivative(2)(at), atol=1e-11
    )
