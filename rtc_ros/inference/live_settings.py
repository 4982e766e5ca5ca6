"""The settings and the task that may change while the arm moves, as ROS parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from rtc_ros.core.chunk import ActionChunk
from rtc_ros.core.delay import DelayEstimator
from rtc_ros.core.inference_loop import InferenceLoop
from rtc_ros.core.settings import RtcSettings, beyond_rows
from rtc_ros.inference.chunk_costs import ChunkCosts
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
    """

    def __init__(
        self,
        node: Node,
        values: dict[str, Any],
        on_change: Callable[[], None],
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
        self.costs: ChunkCosts | None = None
        self._first = 0, 0.0
        """The first forecast [steps], and the seconds that it was counted from."""
        self._reference: tuple[int, RtcSettings] | None = None
        """Of the loop before: a delay that was seen [steps], and the settings of it."""
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
        self.costs = None

    def use(
        self,
        spec: PolicySpec,
        estimator: DelayEstimator,
        reader: TaskReader | None,
        costs: ChunkCosts,
    ) -> None:
        """Begin with a policy, what tells how much of a sentence it reads, and what chunks cost.

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
        self.costs, self._reference = costs, None
        first_s = max(costs.first_s(self.settings), costs.seconds(self.settings))
        self._first = estimator.seen, first_s
        self.loop = InferenceLoop(
            spec.horizon,
            estimator,
            self.settings,
            trained_delay=spec.trained_delay,
            row_filter=row_filter(self._period_s),
        )

    def begin(self, inherited: ActionChunk | None) -> InferenceLoop:
        """Return the loop of a node that becomes active, with the delays of the one before.

        After a crash the controller may still be executing the ``inherited`` chunk.
        """
        before = self.loop
        assert before is not None, "there is a policy"
        self._reference = before.reference or self._reference
        self.loop = InferenceLoop(
            before.horizon,
            before.estimator,
            self.settings,
            inherited,
            before.trained_delay,
            before.row_filter,
        )
        self.loop.settings = self.settings  # they may have changed meanwhile
        return self.loop

    def _expected(self, settings: RtcSettings, *, hopeful: bool = False) -> int:
        """D under ``settings``, as far as it is known before it is seen [steps].

        Counted from a delay that was seen, and the settings that it was seen under: expectations
        that follow each other don't add up. ``hopeful``: nothing is refused for a slow spell long
        ago.
        """
        if self.loop is None or self.costs is None:
            return 0
        seen, seen_s = self._first
        if reference := self.loop.reference or self._reference:
            seen, seen_s = reference[0], self.costs.seconds(reference[1], hopeful=hopeful)
        more_s = self.costs.seconds(settings, hopeful=hopeful) - seen_s
        # Rounding is no step.
        return seen + max(0, math.ceil(more_s / self._period_s - 1e-6))

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
            refused = functools.partial(
                settings.problems_after,
                self.settings,
                self.loop.horizon,
                max_candidates=self._spec.max_candidates,
                trained_delay=self._spec.trained_delay,
            )
            queue, expected = self.loop.estimator, self._expected(settings, hopeful=True)
            problems = refused(max(expected, queue.seen), queue.forecast())
            # A slow inference that is still in Q hides nothing.
            problems = problems or refused(expected, self._expected(self.settings, hopeful=True))
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
            expected = self._expected(settings)
            self.loop.settings = settings
            self.loop.estimator.expect(expected)
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
