"""The tasks by name."""

from __future__ import annotations

from rtc_ros.bench.tasks.catch import Catch
from rtc_ros.bench.tasks.meeting import Meeting
from rtc_ros.bench.tasks.spring_bar import Slalom, SpringBar
from rtc_ros.bench.tasks.tray import Tray
from rtc_ros.bench.tasks.world import World

TASKS: dict[str, type[World]] = {t.name: t for t in (SpringBar, Slalom, Meeting, Tray, Catch)}
