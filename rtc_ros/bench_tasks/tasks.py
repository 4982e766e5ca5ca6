"""The tasks by name."""

from __future__ import annotations

from rtc_ros.bench_tasks.catch import Catch
from rtc_ros.bench_tasks.meeting import Meeting
from rtc_ros.bench_tasks.spring_bar import Slalom, SpringBar
from rtc_ros.bench_tasks.tray import Tray
from rtc_ros.bench_tasks.world import World

TASKS: dict[str, type[World]] = {t.name: t for t in (SpringBar, Slalom, Meeting, Tray, Catch)}
