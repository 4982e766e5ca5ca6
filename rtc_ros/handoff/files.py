"""Files under /dev/shm: names, the writer's lock, publishing a whole file at once, mapping."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import pwd
import re
import secrets
import stat
import struct

from rtc_ros.handoff.errors import AbsentError, AccessError, FullError, WriterPresentError

DIRECTORY_VARIABLE = "RTC_ROS_SHM_DIR"
DEFAULT_DIRECTORY = "/dev/shm"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FLOCK = struct.Struct("hhqqi4x")
"""Linux's struct flock: type, whence, start, length (0: to the end), pid."""
_log = logging.getLogger(__name__)


def segment_path(name: str, directory: str | None = None) -> str:
    """Return the path of segment ``name``; raises ValueError for a name that can't be a file.

    The directory is the argument, else the environment variable RTC_ROS_SHM_DIR, else /dev/shm.
    """
    if not _NAME.fullmatch(name) or name.endswith(".lock"):
        raise ValueError(
            f"{name!r} can't be the name of a segment: use 1 to 128 of A-Z a-z 0-9 _ . - "
            "beginning with a letter, a digit or _, and not ending in .lock"
        )
    return os.path.join(directory or os.environ.get(DIRECTORY_VARIABLE) or DEFAULT_DIRECTORY, name)


class WriterLock:
    """The right to write a segment: a flock on ``<path>.lock``, gone when the process is."""

    def __init__(self, path: str) -> None:
        """Take the lock; raises WriterPresentError or AccessError."""
        self.path = f"{path}.lock"
        while True:
            self._fd = open_ours(self.path, os.O_RDWR, "take the writer's lock", create=True)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._fd, 20, 0).strip().decode("ascii", "replace")
                os.close(self._fd)
                raise WriterPresentError(
                    f"{path} has a writer already, process {holder or 'unknown'}, and this is "
                    f"process {os.getpid()}: stop the other one, or give this node another "
                    "namespace"
                ) from None
            if self._still_linked():
                break
            os.close(self._fd)
        # Whether this one is held can be asked without taking it, which of a flock it can't. Where
        # there is none of its kind, ``is_unlocked`` doesn't know either.
        with contextlib.suppress(OSError):
            alive = _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, alive)
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            os.close(self._fd)
            raise access_error(error, self.path, "write the writer's lock") from None

    def _still_linked(self) -> bool:
        """Tell whether the lock is the file's: a holder may remove it between open and flock."""
        try:
            return os.stat(self.path).st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; ``remove`` takes its file away first, while it is still held."""
        if remove and self._still_linked():
            os.unlink(self.path)
        os.close(self._fd)


def is_unlocked(path: str) -> bool:
    """Tell whether no writer of a segment lives; False where that isn't known. Locks nothing."""
    try:
        fd = open_ours(f"{path}.lock", os.O_RDONLY, "look at the writer's lock")
    except (FileNotFoundError, AccessError):
        return False
    try:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_RDLCK, 0, 0, 0, 0))
    except OSError:
        return False
    finally:
        os.close(fd)
    return bool(_FLOCK.unpack(found)[0] == fcntl.F_UNLCK)


def open_ours(path: str, flags: int, what: str, *, create: bool = False) -> int:
    """Open a regular file of this user's, for ``what``; returns its descriptor.

    Raises FileNotFoundError, or AccessError: also where the file could be opened and is another
    user's, who could change it, and move the robot with it. root is no exception: of all users
    it can be made to do the most.
    """
    try:
        try:  # without O_CREAT first: in a sticky directory Linux refuses it for others' files
            fd = os.open(path, flags | OPEN_FLAGS)
        except FileNotFoundError:
            if not create:
                raise
            fd = os.open(path, flags | OPEN_FLAGS | os.O_CREAT, 0o600)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            raise
        raise access_error(error, path, what) from None
    obstacle = _obstacle(path, os.fstat(fd))
    if obstacle:
        os.close(fd)
        raise AccessError(f"can't {what}: {obstacle}")
    return fd


def make_way(path: str) -> None:
    """Remove the temporary files of killed writers; only the lock's holder may call this.

    Raises AccessError where ``path`` is something that a new segment may not replace. What others
    left beside it does no harm and stays: it is logged.
    """
    obstacle = _obstacle(path)
    if obstacle:
        raise AccessError(f"can't put a segment in place: {obstacle}")
    directory, name = os.path.split(path)
    temporary = re.compile(re.escape(f".{name}.tmp-") + "[0-9a-f]{16}")
    for entry in os.listdir(directory):
        if temporary.fullmatch(entry):
            leftover = os.path.join(directory, entry)
            obstacle = _obstacle(leftover)
            if obstacle:
                _log.warning("%s (it only takes up room: this node goes on)", obstacle)
            else:
                os.unlink(leftover)


def _obstacle(path: str, info: os.stat_result | None = None) -> str:
    """Return why the file can't be used, replaced or removed as ours; "" if it can or is absent.

    ``info`` is of the opened file where there is one, so that what is judged is what is used.
    """
    if info is None:
        try:
            info = os.lstat(path)
        except OSError:
            return ""
    if info.st_uid != os.geteuid():
        return (
            f"{path} belongs to user {_user(info.st_uid)} and this process runs as user "
            f"{_user(os.geteuid())}: run both nodes as the same user, or, if no node of "
            f"{_user(info.st_uid)} uses it any more, remove it (sudo rm {path}); for two robots "
            "give this one another handoff_name"
        )
    if not stat.S_ISREG(info.st_mode):
        return f"{path} is {_kind(info.st_mode)} and not a regular file: remove it"
    if info.st_nlink > 1:  # writing it would write another file of ours, that somebody chose
        return f"{path} is a hard link to a file that has another name, too: remove it"
    return ""


def _user(uid: int) -> str:
    try:
        return f"{uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return str(uid)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO"}
    return kinds.get(stat.S_IFMT(mode), "a socket or device")


def allocate(path: str, size: int) -> tuple[str, mmap.mmap]:
    """Make a temporary file of ``size`` allocated bytes beside ``path``, mapped for writing.

    Every page is there before the first store, so a full file system is an error here and not a
    SIGBUS in a control tick. Returns the temporary path and the mapping.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.tmp-{secrets.token_hex(8)}")
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_FLAGS
        fd = os.open(temporary, flags, 0o600)
    except OSError as error:
        raise access_error(error, temporary, f"create a segment of {size} bytes") from None
    try:
        os.posix_fallocate(fd, 0, size)
        return temporary, mmap.mmap(fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    except OSError as error:
        os.unlink(temporary)
        raise access_error(error, path, f"allocate {size} bytes for a segment") from None
    finally:
        os.close(fd)


def open_segment(path: str, *, write: bool = False) -> tuple[mmap.mmap, int, int]:
    """Map an existing file; returns the mapping, its inode and its size (0: an empty mapping).

    Raises AbsentError, or AccessError where the file isn't this user's alone.
    """
    try:
        fd = open_ours(path, os.O_RDWR if write else os.O_RDONLY, "open the segment")
    except FileNotFoundError:
        raise AbsentError(
            f"{path} isn't there: its writer hasn't started yet, or runs under another "
            "namespace or directory"
        ) from None
    try:
        info = os.fstat(fd)
        size = info.st_size
        if size == 0:
            return mmap.mmap(-1, mmap.PAGESIZE), info.st_ino, 0
        access = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        return mmap.mmap(fd, size, flags=flags, prot=access), info.st_ino, size
    except OSError as error:
        raise access_error(error, path, "map the segment") from None
    finally:
        os.close(fd)


def inode(path: str) -> int:
    """Return the inode that has the name ``path`` now, 0 if none has."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def access_error(error: OSError, path: str, what: str) -> AccessError:
    """Return the sentence for an error of the operating system."""
    directory = os.path.dirname(path) or "."
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FullError(
            f"can't {what} in {directory} ({error.strerror}; {_room(directory)} bytes free): "
            f"make room there, or set {DIRECTORY_VARIABLE} to a directory in memory that has some"
        )
    if error.errno == errno.ENOENT:
        return AccessError(
            f"can't {what}: the directory {directory} doesn't exist; make it or set "
            f"{DIRECTORY_VARIABLE} to one that does"
        )
    obstacle = _obstacle(path)
    if obstacle:
        return AccessError(f"can't {what}: {obstacle}")
    return AccessError(
        f"can't {what} at {path} as user {os.geteuid()} ({error.strerror}): make {directory} "
        "writable for this user, run both nodes as the same user, or set "
        f"{DIRECTORY_VARIABLE} to a directory that is"
    )


def _room(directory: str) -> str:
    try:
        info = os.statvfs(directory)
    except OSError:
        return "unknown"
    return str(info.f_bavail * info.f_frsize)
