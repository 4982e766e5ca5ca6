"""What can go wrong with a shared-memory segment, each with a sentence that says what to do."""

from __future__ import annotations


class HandoffError(RuntimeError):
    """A segment can't be created, attached or used; the message says why and what to do."""


class AccessError(HandoffError):
    """The directory or a file in it can't be read or written by this user."""


class FullError(AccessError):
    """The file system has no room for the segment."""


class AbsentError(HandoffError):
    """No segment of that name yet: its writer hasn't started. Try again later."""


class CorruptError(HandoffError):
    """The file is not a segment, or its header doesn't agree with itself."""


class VersionError(HandoffError):
    """The segment was written by another version of the layout."""


class MismatchError(HandoffError):
    """The two sides disagree about joints, H, A, the control period or the kind of segment."""


class WriterPresentError(HandoffError):
    """Another live process writes this segment already."""
