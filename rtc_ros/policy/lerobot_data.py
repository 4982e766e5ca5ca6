"""LeRobotDataset folders: the only module beside ``lerobot_compat`` that imports LeRobot.

Images are kept as PNG in the parquet files, not as video: what a policy sees in training is then
to the bit what the camera showed, and no encoder is needed.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

try:
    import datasets  # type: ignore[import-untyped]
    from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

    try:
        from lerobot.transforms import ImageTransforms, ImageTransformsConfig
    except ImportError:  # up to 0.5
        from lerobot.datasets.transforms import ImageTransforms, ImageTransformsConfig
except ImportError as error:  # from 0.6 on LeRobot's smolvla alone has no data sets
    raise ImportError(
        f"LeRobot's data sets can't be used here ({error}): install lerobot[dataset] into the "
        "Python that runs this"
    ) from error


def _in_one_line(record: logging.LogRecord) -> bool:
    """Shorten LeRobot's hundred lines on a torchcodec that finds no FFmpeg."""
    if "libtorchcodec" in record.getMessage():
        record.msg, record.args = (
            "torchcodec finds no FFmpeg here: LeRobot reads videos with PyAV (images kept as PNG "
            "need neither)"
        ), ()
    return True


logging.getLogger("lerobot.utils.import_utils").addFilter(_in_one_line)


def create_dataset(
    folder: Path,
    features: Mapping[str, tuple[tuple[int, ...], Sequence[str] | None]],
    *,
    fps: int,
    robot: str,
) -> LeRobotDataset:
    """Return a new, empty data set in ``folder``, which must not be there yet.

    ``features`` gives a name's shape and names of its entries; three axes are an image (height,
    width, channels), all else is float32. Raises FileExistsError.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; a data set needs a new folder")
    datasets.disable_progress_bars()  # one for each episode
    described: dict[str, dict[str, Any]] = {}
    for name, (shape, names) in features.items():
        image = len(shape) == 3
        described[name] = {
            "dtype": "image" if image else "float32",
            "shape": shape,
            "names": ["height", "width", "channels"] if image else names and list(names),
        }
    return LeRobotDataset.create(
        repo_id=f"local/{folder.name}",
        fps=fps,
        features=described,
        root=folder,
        robot_type=robot,
        use_videos=False,
    )


def open_frames(
    folder: Path, action: str, rows: int, features: Sequence[str], *, augment: bool = False
) -> LeRobotDataset:
    """Return a data set whose frames come with the ``rows`` values of ``action`` from there on.

    Rows beyond the end of an episode repeat its last one, and are marked. ``features`` are those
    that it must have; ``augment``: images go through LeRobot's own random changes.

    Raises:
        FileNotFoundError: there is no data set.
        ValueError: it lacks features; the message names them.
    """
    described = _described(folder, (action, *features))
    transforms = ImageTransforms(ImageTransformsConfig(enable=True)) if augment else None
    times = {action: [row / described.fps for row in range(rows)]}
    return LeRobotDataset(
        f"local/{folder.name}", root=folder, delta_timestamps=times, image_transforms=transforms
    )


def _described(folder: Path, names: Sequence[str]) -> LeRobotDatasetMetadata:
    """Return what a data set says of itself; see ``read_columns`` for the errors."""
    if not (folder / "meta" / "info.json").is_file():
        raise FileNotFoundError(f"{folder} holds no data set (meta/info.json); record one first")
    described = LeRobotDatasetMetadata(f"local/{folder.name}", root=folder)
    missing = [name for name in names if name not in described.features]
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing)}; it has {', '.join(described.features)}"
        )
    return described


def write_episode(dataset: LeRobotDataset, frames: Mapping[str, np.ndarray], task: str) -> None:
    """Append an episode: each feature's values [N, …]; call ``finalize`` after the last one."""
    count = len(next(iter(frames.values())))
    for index in range(count):
        dataset.add_frame(
            {name: values[index] for name, values in frames.items()} | {"task": task}
        )
    dataset.save_episode()


def read_columns(folder: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return features [N, …] of all frames, with ``episode_index``, and each frame's task.

    Images come as uint8 [N, height, width, 3]. Raises FileNotFoundError where there is no data
    set, ValueError naming a feature that it lacks.
    """
    _described(folder, names)
    dataset = LeRobotDataset(f"local/{folder.name}", root=folder)
    table = dataset.hf_dataset.data
    columns: dict[str, np.ndarray] = {}
    for name in (*names, "episode_index", "task_index"):
        column, feature = table.column(name), dataset.features[name]
        shape = tuple(feature["shape"])
        if feature["dtype"] == "image":
            images = np.empty((len(column), *shape), np.uint8)
            for index, cell in enumerate(column):
                images[index] = Image.open(io.BytesIO(cell["bytes"].as_py()))
            columns[name] = images
        elif shape == (1,):
            columns[name] = column.to_numpy()
        else:
            parts = [_flat(chunk) for chunk in column.chunks]
            columns[name] = np.concatenate(parts).reshape(-1, *shape)
    sentences = dataset.meta.tasks.sort_values("task_index").index.tolist()
    return columns, [sentences[index] for index in columns.pop("task_index")]


def _flat(chunk: Any) -> np.ndarray:
    """Return all numbers of an arrow array of nested lists."""
    chunk = getattr(chunk, "storage", chunk)
    while hasattr(chunk, "flatten") and hasattr(chunk.type, "value_type"):
        chunk = chunk.flatten()
    return chunk.to_numpy(zero_copy_only=False)
