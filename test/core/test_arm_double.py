"""The arm double against closed forms: it is what the fault tests believe."""

import numpy as np
import pytest
from arm_double import Arm, Course, Driver, Trajectory

AT = np.linspace(0.0, 0.999, 50)


def course(*, velocities=None, accelerations=None, rows=((0.0, 1.0), (2.0, -1.0))):
    return Course([0.0, 1.0], np.array(rows), velocities, accelerations)


def test_points_without_velocities_are_joined_by_lines():
    p, v, a = course().at(AT)
    np.testing.assert_allclose(p, np.stack([2 * AT, 1 - 2 * AT], axis=1), atol=1e-12)
    np.testing.assert_allclose(v, np.tile([2.0, -2.0], (50, 1)))
    assert not a.any()


def test_one_point_without_velocities_makes_a_line_too():
    given = np.array([[1.0, 1.0], [np.nan, np.nan]])
    np.testing.assert_allclose(course(velocities=given).at(AT)[0], course().at(AT)[0])


def polynomial(coefficients):
    f = np.polynomial.Polynomial(coefficients)
    return [np.array([g(0.0), g(1.0)])[:, None] for g in (f, f.deriv(), f.deriv(2))], f


@pytest.mark.parametrize("degree", [3, 5])
def test_a_polynomial_is_followed_exactly(degree):
    ends, f = polynomial(np.random.default_rng(degree).normal(size=degree + 1))
    made = Course([0.0, 1.0], ends[0], ends[1], ends[2] if degree == 5 else None)
    for got, wanted in zip(made.at(AT), (f, f.deriv(), f.deriv(2)), strict=True):
        np.testing.assert_allclose(got[:, 0], wanted(AT), atol=1e-9)


@pytest.mark.parametrize("span", [0.02, 3.0])
def test_the_length_of_a_segment_scales_it(span):
    ends, f = polynomial([0.3, 1.0, -2.0, 0.5, 0.7, -0.2])
    made = Course([5.0, 5.0 + span], ends[0], ends[1] / span, ends[2] / span**2)
    p, v, a = made.at(5.0 + span * AT)
    np.testing.assert_allclose(p[:, 0], f(AT), atol=1e-9)
    np.testing.assert_allclose(v[:, 0], f.deriv()(AT) / span, atol=1e-9 / span)
    np.testing.assert_allclose(a[:, 0], f.deriv(2)(AT) / span**2, atol=1e-8 / span**2)


def test_it_rests_at_its_end():
    p, v, a = course().at(np.array([1.0, 7.0]))
    np.testing.assert_array_equal(p, [[2.0, -1.0]] * 2)
    assert not v.any() and not a.any()


def points(times, rows, velocities=None):
    rows = np.array(rows, float)
    nothing = np.full(rows.shape, np.nan)
    given = nothing if velocities is None else np.array(velocities, float)
    return Trajectory(np.array(times, float), rows, given, nothing)


def test_a_new_trajectory_begins_where_the_old_one_is():
    old = Course.after(Course.rest(0.0, np.zeros(1)), 0.0, points([1.0], [[1.0]], [[0.0]]))
    new = Course.after(old, 0.5, points([0.5], [[2.0]], [[0.0]]))
    for got, wanted in zip(new.at(0.5)[:2], old.at(0.5)[:2], strict=True):
        np.testing.assert_allclose(got, wanted)
    np.testing.assert_allclose(new.at(1.0)[0], [[2.0]])


def arm(*, kind="float64_multi_array", latches=True, lag_s=0.05, speed=100.0):
    return Arm(["a", "b"], [Driver("g", kind, [0, 1], latches=latches)], lag_s, speed)


def test_a_position_driver_goes_to_what_it_was_told_and_holds_it():
    made = arm()
    made.take("g", 0.1, np.array([1.0, -1.0]), b"")
    np.testing.assert_allclose(made.advance(0.2), (1 - np.exp(-0.1 / 0.05)) * np.array([1, -1]))
    np.testing.assert_allclose(made.advance(2.0), [1.0, -1.0], atol=1e-9)


def test_it_goes_no_faster_than_it_can():
    made = arm(lag_s=0.0, speed=2.0)
    made.take("g", 0.0, np.array([1.0, 0.0]), b"")
    np.testing.assert_allclose(made.advance(0.25), [0.5, 0.0], atol=1e-9)


def test_a_message_counts_from_when_it_was_taken():
    early, late = arm(), arm()
    early.take("g", 0.1, np.array([1.0, 0.0]), b"")
    sent = late.take("g", 0.1, np.array([1.0, 0.0]), b"", 0.3)
    assert (sent.at_s, sent.taken_s, late.now_s) == (0.1, 0.3, 0.3)
    np.testing.assert_allclose(late.advance(0.5), early.advance(0.3), atol=1e-6)


@pytest.mark.parametrize(("latches", "ends"), [(True, 0.8), (False, -0.4)])
def test_an_emergency_stop_a_hand_and_the_release(latches, ends):
    made = arm(latches=latches)
    made.take("g", 0.0, np.array([0.5, 0.5]), b"")
    made.advance(1.0)
    made.torque_off()
    made.lead(np.array([-0.4, np.nan]), speed=2.0)
    sent = made.take("g", 1.0, np.array([0.8, 0.5]), b"")
    assert sent.done == ("taken" if latches else "dropped")
    np.testing.assert_allclose(made.advance(1.2), [0.1, 0.5], atol=5e-3)
    np.testing.assert_allclose(made.advance(2.0), [-0.4, 0.5], atol=1e-3)
    made.release()
    np.testing.assert_allclose(made.advance(3.0), [ends, 0.5], atol=1e-3)


def test_a_load_holds_it_off_its_command():
    made = arm()
    made.take("g", 0.0, np.array([0.5, 0.5]), b"")
    made.push(np.array([-0.1, 0.0]))
    np.testing.assert_allclose(made.advance(2.0), [0.4, 0.5], atol=1e-9)


def test_a_driver_that_stands_still_takes_what_its_queue_held():
    made = arm(kind="joint_trajectory_chunk", lag_s=0.0)
    made.take("g", 0.0, points([1.0, 2.0], [[1.0, 0.0], [2.0, 0.0]]), b"")
    np.testing.assert_allclose(made.advance(1.0), [1.0, 0.0], atol=1e-9)
    made.stand_still("g")
    assert made.take("g", 1.2, points([1.0], [[0.0, 0.0]]), b"").done == "queued"
    np.testing.assert_allclose(made.advance(1.5), [1.0, 0.0], atol=1e-9)
    made.go_on("g")
    np.testing.assert_allclose(made.advance(1.51), [1.485, 0.0], atol=1e-3)
    np.testing.assert_allclose(made.advance(2.6), [0.0, 0.0], atol=1e-4)
