"""Off-screen cameras: MuJoCo rendering with a scene, MjData and GL context of its own."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

FILM = "film"
"""A camera that the model doesn't have: both arms from the front, for people to look at."""
_FILM_VIEW = {"lookat": (0.0, 0.45, 0.17), "distance": 1.3, "azimuth": 90.0, "elevation": -22.0}
_PACKAGES = "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri   (or libosmesa6)"


def choose_gl() -> str:
    """Set MUJOCO_GL where it is not set yet, before MuJoCo is imported; return its value.

    EGL is taken where a driver for it is installed, else OSMesa. Raises RuntimeError naming the
    Debian packages when there is neither.
    """
    if "MUJOCO_GL" in os.environ:
        return os.environ["MUJOCO_GL"]
    if _loads("libEGL.so.1") and (_loads("libEGL_mesa.so.0") or _loads("libEGL_nvidia.so.0")):
        backend = "egl"
    elif _loads("libOSMesa.so.8") or _loads("libOSMesa.so.6"):
        backend = "osmesa"
    else:
        raise RuntimeError(f"no library for off-screen rendering was found. Try: {_PACKAGES}")
    os.environ["MUJOCO_GL"] = backend
    return backend


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class Cameras:
    """Renders named cameras of a model. Use it in one thread only, the one that made it.

    ``sizes`` maps a camera's name to (height, width). Raises ValueError for an unknown camera and
    RuntimeError, naming the Debian packages, when no GL context can be made.
    """

    def __init__(self, model: Any, sizes: Mapping[str, tuple[int, int]]) -> None:
        backend = choose_gl()
        import mujoco

        self._mujoco = mujoco
        self._model = model
        self._data = mujoco.MjData(model)
        self._ids: dict[str, int] = {}
        for name in sizes:
            self._ids[name] = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
            if self._ids[name] < 0 and name != FILM:
                known = ", ".join([*(model.camera(i).name for i in range(model.ncam)), FILM])
                raise ValueError(f"the model has no camera {name}; it has {known}")
        self._sizes = dict(sizes)
        width = max((w for _, w in sizes.values()), default=64)
        height = max((h for h, _ in sizes.values()), default=64)
        try:
            self._gl = mujoco.GLContext(width, height)
            self._gl.make_current()
            model.vis.global_.offwidth, model.vis.global_.offheight = width, height
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # each backend raises its own kinds
            raise RuntimeError(
                f"MuJoCo could not render off-screen with MUJOCO_GL={backend} ({error}). "
                f"Try: {_PACKAGES}"
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=200)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._option = mujoco.MjvOption()
        self._cameras = {name: self._camera(index) for name, index in self._ids.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names."""
        return tuple(self._ids)

    def look(self, qpos: np.ndarray) -> None:
        """Take the scene that the next pictures show from the joint positions ``qpos``[nq]."""
        self._data.qpos[:] = qpos
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_comPos(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)

    def picture(self, name: str) -> np.ndarray:
        """Render one camera: uint8[height, width, 3], RGB."""
        mj = self._mujoco
        height, width = self._sizes[name]
        mj.mjv_updateScene(self._model, self._data, self._option, None, self._cameras[name],
                           mj.mjtCatBit.mjCAT_ALL, self._scene)  # fmt: skip
        view = mj.MjrRect(0, 0, width, height)
        mj.mjr_render(view, self._scene, self._context)
        image = np.empty((height, width, 3), dtype=np.uint8)
        mj.mjr_readPixels(image, None, view, self._context)
        return np.ascontiguousarray(image[::-1])

    def _camera(self, index: int) -> Any:
        camera = self._mujoco.MjvCamera()
        if index < 0:
            camera.type = self._mujoco.mjtCamera.mjCAMERA_FREE
            for name, value in _FILM_VIEW.items():
                setattr(camera, name, value)
        else:
            camera.type, camera.fixedcamid = self._mujoco.mjtCamera.mjCAMERA_FIXED, index
        return camera

    def close(self) -> None:
        """Free the GL context; call it in the thread that made the cameras."""
        self._context.free()
        self._gl.free()

    def __enter__(self) -> Cameras:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the GL context."""
        self.close()
