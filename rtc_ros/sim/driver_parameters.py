"""The parameters of the simulated robot's driver."""

from __future__ import annotations

from rtc_ros.ros.parameter_table import Parameter

DRIVER = (
    Parameter(
        "seed", 0, "Of the cube's places; the same seed gives the same episodes.", "", 0, 2**31
    ),
    Parameter(
        "cube_speed",
        0.0,
        "The cube slides over the table at this speed until a finger touches it; 0: not at all.",
        "m/s",
        0.0,
        0.5,
    ),
    Parameter("realtime_factor", 1.0, "Simulated seconds per second.", "", 0.01, 10.0),
    Parameter(
        "episode_length_s",
        0.0,
        "Reset arms and cube after so long; 0: never. The arms jump to the start pose.",
        "s",
        0.0,
        3600.0,
    ),
    Parameter(
        "new_cube_after_s",
        0.0,
        "Lay a new cube when the old one was passed, or lies out of reach, for so long; the arms "
        "stay where they are. 0: never.",
        "s",
        0.0,
        3600.0,
    ),
    Parameter("state_rate_hz", 100.0, "Of /joint_states.", "Hz", 1.0, 500.0),
    Parameter(
        "step_rate_hz",
        0.0,
        "How often the physics goes on, with the newest commands: as often as joint states are "
        "published, or more. Set it to command_rate.",
        "Hz",
        0.0,
        500.0,
    ),
    Parameter("publish_clock", False, "Publish /clock and stamp with simulated time."),
    Parameter(
        "cameras",
        ["top"],
        "Cameras to publish: names of the model (top, angle, front_close, left_wrist, "
        "right_wrist, …) or film, both arms from the front.",
    ),
    Parameter(
        "compressed",
        False,
        "Publish each camera as CompressedImage (JPEG) too, on image_raw/compressed.",
    ),
)
"""All but the cameras' own; none of them changes while the driver runs."""

_SIZES = {"top": (96, 96, 20.0), "film": (240, 320, 8.0)}


def camera_parameters(name: str) -> tuple[Parameter, ...]:
    """Return the parameters of one camera, declared under ``camera.<name>.``.

    The defaults of ``top`` are what the shipped policy was trained with.
    """
    height, width, rate = _SIZES.get(name, (240, 320, 15.0))
    return (
        Parameter("height", height, "Of the picture.", "px", 8, 2160),
        Parameter("width", width, "Of the picture.", "px", 8, 3840),
        Parameter("rate_hz", rate, "Pictures per second.", "Hz", 0.1, 120.0),
    )
