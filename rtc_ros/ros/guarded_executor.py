"""rclpy's executors, which a failing callback doesn't end.

rclpy raises a callback's error out of ``spin``, which ends the node: by one wrong message, or, on
Jazzy, by one lifecycle transition that isn't possible (ros2/rclpy#1209). Here the error is named
and the node goes on; a service answers that it failed. What must end the node where it fails, as
the control tick, says so itself (``rtc_ros.ros.runner.end_with_failure``).
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from rtc_ros.ros.parameters import rcl_words

_AGAIN_S = 5.0
"""A callback that fails all the time is named this often."""


class CallbackErrors:
    """Says what failed: one sentence for each, its traceback the first time."""

    def __init__(self) -> None:
        self.silent = False
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def say(self, node: Any, entity: Any, error: Exception) -> None:
        """Log that a callback failed."""
        what = described(entity)
        cause = " ".join(f"{type(error).__name__}: {rcl_words(error)}".split())
        where = traceback.extract_tb(error.__traceback__)[-1:]
        key = (what, f"{type(error).__name__} {where}")
        now = time.monotonic()
        with self._lock:
            first = key not in self._said
            last, untold = self._said.get(key, (-_AGAIN_S, 0))
            told = now - last >= _AGAIN_S
            self._said[key] = (now, 0) if told else (last, untold + 1)
        if not told:
            return
        whose = "" if node is None else f" of {node.get_fully_qualified_name()}"
        log = get_logger("rtc_ros") if node is None else node.get_logger()
        again = f" ({untold + 1} times more)" if untold else ""
        log.error(f"{what}{whose} failed: {cause}{again}; the node goes on")
        if first:
            lines = "".join(traceback.format_exception(error))
            log.error(f"said once, for a report of this defect:\n{lines}")


def described(entity: Any) -> str:
    """Say which callback it is: by its topic or service, a timer by its function's name."""
    if isinstance(entity, Subscription):
        return f"the callback of the topic {entity.topic_name}"
    if isinstance(entity, Service):
        return f"the service {entity.service_name}"
    if isinstance(entity, Timer):
        callback = entity.callback
        name = getattr(callback, "__qualname__", type(callback).__name__)
        return f"the timer callback {name}"
    return f"a callback ({type(entity).__name__})"


class _Guarded:
    """A task of the executor which keeps its error to itself."""

    def __init__(self, task: Any, entity: Any, node: Any, errors: CallbackErrors) -> None:
        self._task, self._entity, self._node, self._errors = task, entity, node, errors

    def __call__(self) -> None:
        self._task()
        error = self._task.exception()
        if error is not None and not self._errors.silent:
            self._errors.say(self._node, self._entity, error)

    def done(self) -> bool:
        return bool(self._task.done())

    def exception(self) -> None:
        """Return none: it was said."""

    def result(self) -> None:
        """Return none, as callbacks do."""


def _answering(entity: Any, node: Any, errors: CallbackErrors) -> Callable[[Any, Any], Any]:
    """Return a service's callback that answers "failed" where the given one raises."""
    callback = entity.callback

    @functools.wraps(callback)
    def answer(request: Any, response: Any) -> Any:
        try:
            return callback(request, response)
        except Exception as error:
            refused = _refused(request, type(response)(), f"{type(error).__name__}: {error}")
            if refused is None:
                raise  # left without an answer: an empty one would be taken for a good one
            errors.say(node, entity, error)
            return refused

    answer.guarded = True  # type: ignore[attr-defined]
    return answer


def _refused(request: Any, response: Any, cause: str) -> Any:
    """Return ``response`` as a refusal, None where its type can't say no."""
    cause = f"failed by a defect of the node: {cause}"
    if hasattr(response, "success"):
        response.success = False
        if hasattr(response, "message"):
            response.message = cause
    elif hasattr(response, "result") and hasattr(response.result, "successful"):
        response.result = SetParametersResult(successful=False, reason=cause)
    elif hasattr(response, "results") and hasattr(request, "parameters"):
        refusal = SetParametersResult(successful=False, reason=cause)
        response.results = [refusal] * len(request.parameters)
    else:
        return None
    return response


class Guard(Executor):
    """What both executors below have in common; ``wait_for_ready_callbacks`` is public for it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._errors = CallbackErrors()

    def say_no_more(self) -> None:
        """Be silent about errors: of a node that is being taken away they mean nothing."""
        self._errors.silent = True

    def wait_for_ready_callbacks(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next (task, entity, node), with errors kept from the executor."""
        task, entity, node = super().wait_for_ready_callbacks(*args, **kwargs)
        if isinstance(entity, Service) and not hasattr(entity.callback, "guarded"):
            entity.callback = _answering(entity, node, self._errors)
        return _Guarded(task, entity, node, self._errors), entity, node


class GuardedExecutor(Guard, SingleThreadedExecutor):
    """Runs callbacks in the thread that spins."""


class GuardedThreads(Guard, MultiThreadedExecutor):
    """Runs callbacks in a pool of threads."""
