"""What both sides of a handoff must agree on before a single action crosses it."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

ANY_HORIZON = 0
"""In a reader's spec: take the horizon that the writer has."""

NAMES_BYTES = 3584
"""Room for the joint names in a segment, separated by line feeds, UTF-8."""


@dataclass(frozen=True)
class HandoffSpec:
    """The joints (order counts: they are the columns), Δt in seconds and H in steps.

    ``horizon`` 0 in a reader's spec takes whatever the writer has. A cursor has no horizon of its
    own, so its writer may leave 0 as well.
    """

    joint_names: tuple[str, ...]
    control_period_s: float
    horizon: int = ANY_HORIZON

    def __post_init__(self) -> None:
        names = tuple(self.joint_names)
        object.__setattr__(self, "joint_names", names)
        if not names:
            raise ValueError("joint_names is empty: a handoff needs the joints of the policy")
        for name in names:
            if not name or "\n" in name or "\0" in name:
                raise ValueError(f"{name!r} can't be a joint name: empty, or with a control byte")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"joint_names has {', '.join(twice)} more than once")
        if len(self.names_text()) > NAMES_BYTES:
            raise ValueError(
                f"the {len(names)} joint names take {len(self.names_text())} bytes, and a segment "
                f"has room for {NAMES_BYTES}: shorten them"
            )
        if not 1e-6 <= self.control_period_s <= 3600.0:
            raise ValueError(
                f"control_period is {self.control_period_s} s: it must be within 1e-6 and 3600 s"
            )
        if not 0 <= self.horizon <= 65535:
            raise ValueError(f"horizon is {self.horizon}: it must be within 0 and 65535 steps")

    @property
    def action_dim(self) -> int:
        """A, the number of joints."""
        return len(self.joint_names)

    @property
    def period_ns(self) -> int:
        """Δt in whole nanoseconds, the form in which two sides are compared."""
        return round(self.control_period_s * 1e9)

    def names_text(self) -> bytes:
        """Return the joint names as they stand in the segment."""
        return "\n".join(self.joint_names).encode()

    @property
    def digest(self) -> int:
        """The 64-bit digest of the joint names in order."""
        return xxhash.xxh3_64_intdigest(self.names_text())

    def differences(self, writer: HandoffSpec) -> list[str]:
        """Return a phrase for each point in which the writer's spec is another than this one."""
        found = []
        if self.joint_names != writer.joint_names:
            found.append(_joint_difference(self.joint_names, writer.joint_names))
        if self.horizon and writer.horizon and self.horizon != writer.horizon:
            found.append(f"H is {writer.horizon} steps there and {self.horizon} here")
        if self.period_ns != writer.period_ns:
            found.append(
                f"the control period Δt is {writer.period_ns / 1e9:g} s there and "
                f"{self.period_ns / 1e9:g} s here"
            )
        return found


def _joint_difference(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    counts = f"A is {len(there)} there and {len(here)} here, " if len(here) != len(there) else ""
    if sorted(here) == sorted(there):
        counts = "the same joints come in another order, "
    return f"{counts}the joints are [{', '.join(there)}] there and [{', '.join(here)}] here"
