"""The settings and the task that may change while the arm moves, as ROS parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.settings import RtcSettings, beyond_rows
from rtc_ros.inference.parameters import INFERENCE
from rtc_ros.policy.row_filter import load_filters, row_filter
from rtc_ros.ros.parameters import ConfigurationError, check_words, taken

if TYPE_CHECKING:
    from rtc_ros.policy.protocol import PolicySpec
    from rtc_ros.policy.task_length import TaskReader

_LIVE = {p.name: p for p in INFERENCE if p.live}
_RELOAD = {p.name: p for p in INFERENCE if p.reload}
_SETTINGS = {f.name for f in fields(RtcSettings)}


class LiveSettings:
    """Validates each change as a whole, and gives it to the inference loop.

    Args:
        node: has the parameters declared; also listens to the topic ``~/task``.
        values: the parameters at the start; those that may change while the node is unconfigured
            are kept up to date in it.
        on_change: called after each change that was taken over.
        step_s: returns how long a denoising step took last [s]; 0 where no chunk was made yet.
    """

    def __init__(
        self,
        node: Node,
        values: dict[str, Any],
        on_change: Callable[[], None],
        step_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.fixed = False
        """Whether a policy is loaded or being loaded, with the parameters as they are."""
        self._values = values
        self.settings = RtcSettings(**{name: values[name] for name in _SETTINGS})
        self.task: str = values["task"]
        self.loop: InferenceLoop | None = None
        self._reader: TaskReader | None = None
        self._spec: PolicySpec | None = None
        self._period_s: float = values["control_period"]
        self._on_change = on_change
        self._step_s, self._first_step_s = step_s, 0.0
        self._node = node
        node.create_subscription(String, "~/task", self._hear, 10)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._take_over)

    def _hear(self, message: String) -> None:
        """Take a sentence from ``~/task``, or say on the console why not: a topic can't answer."""
        (result,) = self._node.set_parameters([Parameter("task", value=message.data)])
        if not result.successful:
            self._node.get_logger().error(
                f"~/task refused, {self.task!r} stays: {result.reason}"
            )

    def forget(self) -> None:
        """Be without a policy again."""
        self.loop, self.fixed, self._reader, self._spec = None, False, None, None

    def use(
        self,
        spec: PolicySpec,
        estimator: DelayEstimator,
        reader: TaskReader | None = None,
        warm_s: float = 0.0,
    ) -> None:
        """Begin with a policy, and what tells how much of a sentence it reads.

        A guided chunk took ``warm_s`` in the warm-up.

        Raises:
            ConfigurationError: the settings can't work with it.
        """
        able = spec.max_candidates, spec.trained_delay
        problems = self.settings.problems(spec.horizon, estimator.forecast(), *able)
        if reader is not None and reader.problem(self.task):
            problems.append(reader.problem(self.task))
        if cannot := spec.cannot(self.settings.strategy):
            problems.append(cannot)
        if beyond := beyond_rows(self.settings.filter_cutoff, self._period_s):
            problems.append(beyond)
        if self.settings.filter_cutoff:
            load_filters()
        if problems:
            raise ConfigurationError("; ".join(problems))
        self._spec, self._reader = spec, reader
        self._first_step_s = warm_s / max(1, self._num_steps(self.settings))
        self.loop = InferenceLoop(
            spec.horizon,
            estimator,
            self.settings,
            trained_delay=spec.trained_delay,
            row_filter=row_filter(self._period_s),
        )

    def _num_steps(self, settings: RtcSettings) -> int:
        return settings.num_steps or (0 if self._spec is None else self._spec.num_steps)

    def _forecast(self, settings: RtcSettings) -> int:
        """D under ``settings``: what more latency or steps cost is known before it is seen."""
        if self.loop is None:
            return 0
        extra_s = (settings.inject_latency_ms - self.settings.inject_latency_ms) * 1e-3
        steps = self._num_steps(settings) - self._num_steps(self.settings)
        extra_s += steps * (self._step_s() or self._first_step_s)
        return self.loop.estimator.forecast() + max(0, math.ceil(extra_s / self._period_s))

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse a change, as a whole and with a sentence, that can't work."""
        values = {p.name: p.value for p in parameters}
        for name, value in values.items():
            known = _LIVE.get(name) or _RELOAD.get(name)
            problem = check_words(known, name, value) if known else None
            if name == "task" and not problem and self._reader is not None:
                problem = self._reader.problem(value)
            if name == "strategy" and not problem and self._spec is not None:
                problem = self._spec.cannot(value)
            if name in _RELOAD and self.fixed:
                problem = (
                    f"{name} can be changed while the node is unconfigured: deactivate it and "
                    "clean it up first"
                )
            if known and known.path and not problem:
                try:
                    taken(known, value)
                except ValueError as error:
                    problem = f"parameter {name}: {error}"
            if name == "filter_cutoff" and not problem:
                problem = beyond_rows(value, self._period_s)
                if value and not problem:
                    load_filters()
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        changes = {k: v for k, v in values.items() if k in _SETTINGS}
        if changes and self.loop is not None and self._spec is not None:
            settings = self.settings.changed(**changes)
            problems = settings.problems_after(
                self.settings,
                self.loop.horizon,
                self._forecast(settings),
                self.loop.estimator.forecast(),
                self._spec.max_candidates,
                self._spec.trained_delay,
            )
            if problems:
                return SetParametersResult(successful=False, reason="; ".join(problems))
        return SetParametersResult(successful=True)

    def _take_over(self, parameters: list[Parameter]) -> None:
        """Take over a change that was accepted; the next inference uses it."""
        values = {p.name: p.value for p in parameters}
        self.task = values.get("task", self.task)
        self._values.update({k: taken(_RELOAD[k], v) for k, v in values.items() if k in _RELOAD})
        settings = self.settings.changed(**{k: v for k, v in values.items() if k in _SETTINGS})
        if self.loop is not None:
            if (d := self._forecast(settings)) > self.loop.estimator.forecast():
                self.loop.estimator.observe(d)
            self.loop.settings = settings
        self.settings = settings
        self._on_change()

    def effective(self, spec: PolicySpec | None) -> dict[str, Any]:
        """Return what is in effect now, with what follows from it."""
        effective: dict[str, Any] = asdict(self.settings) | {
            "task": self.task,
            "mask_schedule": self.settings.mask_schedule,
            "control_period": self._period_s,
        }
        if self.loop is not None and spec is not None:
            d = self.loop.estimator.forecast()
            effective["horizon"] = self.loop.horizon
            effective["num_steps"] = self.settings.num_steps or spec.num_steps
            effective["d_forecast"] = d
            effective["s"] = max(d, self.settings.least_stride)
            effective["policy"] = spec.description
            effective["trained_delay"] = spec.trained_delay
            effective["image_positions"] = spec.image_positions
        return effective
