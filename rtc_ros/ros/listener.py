"""One subscription that waits in a thread of its own, where the executor would be too slow.

rclpy's executor makes a wait set of all that a node has, anew for each message: half a millisecond
and as much of a core. Here the wait set has one subscription and is made once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile

from rtc_ros.ros.guarded_executor import CallbackErrors

_LOOK_NS = 100_000_000
"""How long one wait is: the end is seen by then."""


class _Elsewhere(CallbackGroup):
    """What no executor is to wait for."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class Listener:
    """Takes the messages of a topic as they come, serialized.

    Args:
        node: has the subscription.
        kind: the message class.
        topic: its name.
        callback: gets each message's bytes, in the listener's thread.
        qos: as for ``create_subscription``.
        begun: called in the thread before anything else.

    What ``callback`` raises is said as of any callback, and the listener goes on.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        topic: str,
        callback: Callable[[bytes], None],
        qos: QoSProfile,
        *,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self._callback, self._begun = node, callback, begun
        self._errors = CallbackErrors()
        self._subscription: Any = node.create_subscription(
            kind, topic, callback, qos, raw=True, callback_group=_Elsewhere()
        )
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """End; no callback is called after it."""
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        self._begun()
        context, subscription = self._node.context, self._subscription
        with context.handle, subscription.handle:
            wait_set = _rclpy.WaitSet(1, 0, 0, 0, 0, 0, context.handle)
            while not self._ended and context.ok():
                wait_set.clear_entities()
                wait_set.add_subscription(subscription.handle)
                wait_set.wait(_LOOK_NS)
                while not self._ended:
                    taken = subscription.handle.take_message(subscription.msg_type, True)
                    if taken is None:
                        break
                    try:
                        self._callback(taken[0])
                    except Exception as error:  # noqa: BLE001 - it is said, the next one is heard
                        self._errors.say(self._node, subscription, error)
