"""The latched stop as a file: it outlives whoever latched it, whatever is started after."""

from __future__ import annotations

import os

from rtc_ros.handoff.files import access_error, open_ours, segment_path


class LatchFile:
    """An empty file beside a controller's cursor, there as long as the stop is latched.

    Not in the cursor alone: a controller with other joints or another Δt can't read the cursor of
    the one before, and a stop is latched by the time that the call is answered.
    """

    def __init__(self, name: str, directory: str | None = None) -> None:
        self.path = segment_path(f"{name}.latched", directory)

    @property
    def there(self) -> bool:
        """Whether the stop is latched; also where something else has the file's name."""
        return os.path.lexists(self.path)

    def write(self) -> None:
        """Latch; raises AccessError where the file can't be made."""
        os.close(open_ours(self.path, os.O_WRONLY, "write the latched stop", create=True))

    def remove(self) -> None:
        """Lift it; raises AccessError where the file can't be removed."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise access_error(error, self.path, "remove the latched stop") from None
