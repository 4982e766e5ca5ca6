"""Which quality of service the recorder asks for, and how a bag spells what was offered."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

DEPTH = 1000
"""Messages that may wait for the recorder: 20 s of a 50 Hz topic."""

CAMERA_DEPTH = 10


def receiving_qos(offered: Sequence[QoSProfile], is_camera: bool = False) -> QoSProfile:
    """Return the QoS that receives from every publisher in ``offered`` as well as it can.

    Reliable and transient local only where all of them are; cameras always best effort, so that
    a slow disk never holds back a driver.
    """
    reliable = not is_camera and all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = reliable and all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=CAMERA_DEPTH if is_camera else DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def receives_alike(have: QoSProfile, want: QoSProfile) -> bool:
    """Tell whether a subscription with ``have`` misses nothing that one with ``want`` gets."""
    # A reliable or latched subscription is only replaced when it misses a publisher.
    misses = (
        have.reliability == ReliabilityPolicy.RELIABLE
        and want.reliability == ReliabilityPolicy.BEST_EFFORT
    ) or (
        have.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and want.durability == DurabilityPolicy.VOLATILE
    )
    return not misses


def bag_qos(profile: QoSProfile) -> Qos:
    """Return rclpy's QoS profile as the bag's metadata spells it."""

    def seconds(duration: Duration) -> QosTime:
        return QosTime(*divmod(duration.nanoseconds, 10**9))

    return Qos(
        QosHistory(int(profile.history)),
        profile.depth,
        QosReliability(int(profile.reliability)),
        QosDurability(int(profile.durability)),
        seconds(profile.deadline),
        seconds(profile.lifespan),
        QosLiveliness(int(profile.liveliness)),
        seconds(profile.liveliness_lease_duration),
        profile.avoid_ros_namespace_conventions,
    )
