"""Message definitions without ROS: what a bag needs to describe the messages in it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore


@lru_cache(maxsize=1)
def standard_types() -> Typestore:
    """Return the message types of the ROS 2 distribution in ``ROS_DISTRO`` (Jazzy otherwise)."""
    name = f"ROS2_{os.environ.get('ROS_DISTRO', 'jazzy').upper()}"
    return get_typestore(getattr(Stores, name, Stores.ROS2_JAZZY))


def definition(msgtype: str) -> tuple[str, str]:
    """Return the full definition of ``pkg/msg/Name`` and its RIHS01 hash.

    Types that are not part of ROS itself are looked up in the workspaces of AMENT_PREFIX_PATH.

    Raises:
        LookupError: the type is described nowhere; the message says where was looked.
    """
    store = standard_types()
    _ensure(store, msgtype)
    return store.generate_msgdef(msgtype, ros_version=2)[0], store.hash_rihs01(msgtype)


def _ensure(store: Typestore, msgtype: str) -> None:
    if msgtype in store.fielddefs:
        return
    package, _, name = msgtype.split("/")
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in prefixes:
        path = Path(prefix, "share", package, "msg", f"{name}.msg")
        if path.is_file():
            break
    else:
        raise LookupError(
            f"message type {msgtype} is not a standard one and {package}/msg/{name}.msg is not "
            f"under any of AMENT_PREFIX_PATH={os.pathsep.join(prefixes) or '(empty)'}; "
            "source the workspace that has it"
        )
    types = get_types_from_msg(path.read_text(encoding="utf-8"), msgtype)
    for _, fields in types.values():
        for _, (_, args) in fields:
            for nested in _names(args):
                if nested not in types:
                    _ensure(store, nested)
    store.register(types)


def _names(field: object) -> list[str]:
    """Return the message types that a field's description refers to."""
    if isinstance(field, str):
        return [field] if field.count("/") == 2 else []
    return [n for part in field for n in _names(part)] if isinstance(field, tuple) else []
