"""ament_python build of rtc_ros: the same entry points for a colcon workspace and for pip."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "rtc_ros"
HERE = Path(__file__).resolve().parent


def version() -> str:
    """`rtc_ros.__version__`, read without importing the package."""
    text = (HERE / NAME / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"{NAME}/__init__.py has no line '__version__ = \"...\"'")
    return match.group(1)


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """data_files entries for every file under `folder`, kept in its sub-folder of share/."""
    files: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(HERE)
            files.setdefault(f"share/{NAME}/{relative.parent}", []).append(str(relative))
    return sorted(files.items())


setup(
    name=NAME,
    version=version(),
    description="Real-Time Chunking (arXiv 2506.07339) for flow policies (SmolVLA, pi0, pi0.5) "
    "on ROS 2",
    license="Apache-2.0",
    maintainer="rtc_ros maintainers",
    maintainer_email="maintainers@rtc-ros.example",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    # Checkpoints and backbones are folders of data, not Python packages.
    package_data={NAME: ["py.typed", "checkpoints/**/*", "**/*.json", "**/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared("launch"),
        *shared("config"),
    ],
    # ROS packages resolve the rest: package.xml with rosdep, or requirements/ with pip.
    install_requires=["setuptools"],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "rtc_ros = rtc_ros.tools.cli:main",
            "rtc_inference = rtc_ros.inference.__main__:main",
            "rtc_controller = rtc_ros.controller.__main__:main",
            "rtc_recorder = rtc_ros.recorder.__main__:main",
            "rtc_monitor = rtc_ros.monitor.__main__:main",
            "rtc_link = rtc_ros.link.__main__:main",
            "rtc_link_gpu = rtc_ros.link.gpu:main",
            "rtc_sim = rtc_ros.sim.__main__:main",
        ],
    },
)
