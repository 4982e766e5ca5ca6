"""JointGroupCommand {name, float32[] cmd} and JointSingleCommand {name, float32 cmd}.

Same Python interface as the real ones, carried over DDS by a message with the layout of the first.
"""

from __future__ import annotations

from collections.abc import Sequence

from sensor_msgs.msg import ChannelFloat32


class JointGroupCommand(ChannelFloat32):
    """The joints of a group, in the order of the driver's configuration."""

    def __init__(self, *, name: str = "", cmd: Sequence[float] = ()) -> None:
        super().__init__(name=name, values=cmd)

    @property
    def cmd(self) -> list[float]:
        """The numbers, as float32."""
        return list(self.values)


class JointSingleCommand(ChannelFloat32):
    """One joint."""

    def __init__(self, *, name: str = "", cmd: float = 0.0) -> None:
        assert isinstance(cmd, float), "as the generated class has it"
        super().__init__(name=name, values=[cmd])

    @property
    def cmd(self) -> float:
        """The number, as float32."""
        return float(self.values[0])
