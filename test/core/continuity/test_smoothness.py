"""The smoothness figures against the published reference values."""

import numpy as np
import pytest

from rtc_ros.core.continuity.smoothness import log_dimensionless_jerk, spectral_arc_length

RATE_HZ = 100.0
TIME = np.arange(-1.0, 1.0, 1 / RATE_HZ)
BELL = np.exp(-5 * TIME**2)
MEASURES = (spectral_arc_length, log_dimensionless_jerk)


def test_reference_values_of_the_published_code():
    assert spectral_arc_length(BELL, RATE_HZ) == pytest.approx(-1.41403, abs=1e-5)
    assert log_dimensionless_jerk(BELL, RATE_HZ) == pytest.approx(-5.81636, abs=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_size_of_the_motion_does_not_matter(measure):
    assert measure(7.0 * BELL, RATE_HZ) == pytest.approx(measure(BELL, RATE_HZ))


@pytest.mark.parametrize("measure", MEASURES)
def test_a_jerky_motion_is_less_smooth(measure):
    jerky = BELL + 0.1 * np.sin(2 * np.pi * 8 * TIME)
    assert measure(jerky, RATE_HZ) < measure(BELL, RATE_HZ) - 0.2


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("speed", [np.zeros(50), np.zeros(0), np.ones(1), np.full(9, np.nan)])
def test_no_motion_has_no_smoothness(measure, speed):
    assert np.isnan(measure(speed, RATE_HZ))
