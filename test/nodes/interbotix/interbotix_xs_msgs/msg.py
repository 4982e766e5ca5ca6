"""JointGroupCommand {name, float32[] cmd} and JointSingleCommand {name, float32 cmd}.

Same Python interface as the real ones, carried over DDS by a message with the layout of the first.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

from sensor_msgs.msg import ChannelFloat32


class JointGroupCommand(ChannelFloat32):
    """The joints of a group, in the order of the driver's configuration."""

    def __init__(self, *, name: str = "", cmd: Sequence[float] = ()) -> None:
        super().__init__(name=name, values=cmd)

    @property
    def cmd(self) -> MutableSequence[float]:
        """The numbers, as float32, in an array of the message's own."""
        return self.values  # type: ignore[no-any-return]


class JointSingleCommand(ChannelFloat32):
    """One joint."""

    def __init__(self, *, name: str = "", cmd: float = 0.0) -> None:
        assert isinstance(cmd, float), "as the generated class has it"
        super().__init__(name=name, values=[cmd])

    @property
    def cmd(self) -> float:
        """The number, as float32."""
        return float(self.values[0])

    @cmd.setter
    def cmd(self, value: float) -> None:
        assert isinstance(value, float), "as the generated class has it"
        self.values[0] = value
