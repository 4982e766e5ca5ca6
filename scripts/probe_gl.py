"""Exit 0 if MuJoCo draws a frame off screen with the backend that MUJOCO_GL names."""

from __future__ import annotations

import sys

import mujoco

SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="sphere" size="0.3" rgba="1 1 1 1"/>
    <camera name="probe" pos="0 -2 0" euler="90 0 0"/>
  </worldbody>
</mujoco>
"""


def main() -> int:
    """Render one small frame; 0 if the sphere shows in it, else 1."""
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 32, 32) as renderer:
        renderer.update_scene(data, camera="probe")
        return 0 if renderer.render().max() > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
