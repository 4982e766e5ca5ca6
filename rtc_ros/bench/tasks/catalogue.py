"""The tasks by name."""

from __future__ import annotations

from rtc_ros.bench.tasks.catch import Catch
from rtc_ros.bench.tasks.slalom import Slalom
from rtc_ros.bench.tasks.world import World

TASKS: dict[str, type[World]] = {t.name: t for t in (Slalom, Catch)}
