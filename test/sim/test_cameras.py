from __future__ import annotations

import numpy as np
import pytest

from rtc_ros.sim import cameras as cameras_module
from rtc_ros.sim.cameras import Cameras, choose_gl
from rtc_ros.sim.robot import AlohaCube


def red_centre(image: np.ndarray) -> np.ndarray:
    """Mean (row, column) of the red pixels."""
    red = (image[..., 0] > 120) & (image[..., 1] < 90)
    assert red.any(), "no red pixel: the cube is not in the picture"
    return np.argwhere(red).mean(0)


def test_the_top_camera_sees_the_cube_where_it_lies() -> None:
    robot = AlohaCube(seed=0)
    seen, places = [], []
    with Cameras(robot.model, {"top": (96, 96)}) as cameras:
        for _ in range(8):
            robot.new_cube()
            cameras.look(robot.data.qpos)
            image = cameras.picture("top")
            assert image.shape == (96, 96, 3) and image.dtype == np.uint8
            seen.append(red_centre(image))
            places.append(robot.cube()[:2])
    x, y = np.array(places).T
    row, column = np.array(seen).T
    assert np.corrcoef(x, column)[0, 1] > 0.95
    assert np.corrcoef(y, row)[0, 1] < -0.95


def test_cameras_of_different_sizes_render_what_each_would_alone() -> None:
    robot = AlohaCube(seed=0)
    with Cameras(robot.model, {"top": (96, 96), "film": (120, 160)}) as cameras:
        cameras.look(robot.data.qpos)
        film, top = cameras.picture("film"), cameras.picture("top")
        assert cameras.names == ("top", "film")
    with Cameras(robot.model, {"top": (96, 96)}) as alone:
        alone.look(robot.data.qpos)
        assert np.array_equal(alone.picture("top"), top)
    assert film.shape == (120, 160, 3)
    assert len(np.unique(film.reshape(-1, 3), axis=0)) > 20, "a picture of one colour"


def test_rendering_reads_the_state_that_it_is_given_and_touches_no_other() -> None:
    robot = AlohaCube(seed=0)
    before = robot.data.qpos.copy()
    elsewhere = before.copy()
    elsewhere[-7:-5] += 0.1
    with Cameras(robot.model, {"top": (96, 96)}) as cameras:
        cameras.look(before)
        one = cameras.picture("top")
        cameras.look(elsewhere)
        two = cameras.picture("top")
    assert np.linalg.norm(red_centre(one) - red_centre(two)) > 5.0
    assert np.array_equal(robot.data.qpos, before)


def test_an_unknown_camera_is_refused_by_name_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no camera nose; it has .*top.*film"):
        Cameras(AlohaCube().model, {"nose": (64, 64)})


def test_without_a_rendering_library_the_debian_packages_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(cameras_module, "_loads", lambda library: False)
    with pytest.raises(RuntimeError, match="libegl1 libegl-mesa0 libgl1-mesa-dri .*libosmesa6"):
        choose_gl()


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"libEGL.so.1", "libEGL_mesa.so.0", "libOSMesa.so.8"}, "egl"),
        ({"libEGL.so.1", "libOSMesa.so.8"}, "osmesa"),  # EGL without a driver
        ({"libOSMesa.so.6"}, "osmesa"),
    ],
)
def test_egl_is_taken_where_it_has_a_driver_else_osmesa(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], chosen: str
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(cameras_module, "_loads", lambda library: library in installed)
    assert choose_gl() == chosen
