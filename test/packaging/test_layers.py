"""Who may import whom, read from the source: rtc_ros.core stays free of ROS, torch and LeRobot."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROS = {"rclpy", "ament_index_python", "cv_bridge", "launch", "launch_ros", "rcl_interfaces"} | {
    f"{family}_msgs"
    for family in ("diagnostic", "lifecycle", "rosgraph", "sensor", "std", "trajectory")
}
LEARNING = {"lerobot", "torch", "transformers", "safetensors"}
LEROBOT_MODULES = {
    f"rtc_ros/policy/{name}.py"
    for name in (
        "families/act",
        "families/pi0",
        "families/pi05",
        "families/smolvla",
        "lerobot_compat",
        "lerobot_data",
        "lerobot_guidance",
    )
}

# layer -> (our layers that it may import, outside packages that it may not)
RULES = {
    "core": ({"core"}, None),
    "handoff": ({"core", "handoff"}, ROS | LEARNING | {"mujoco"}),
    "policy": ({"core", "policy"}, ROS | {"mujoco"}),
    "bags": ({"core", "bags", "parameter_files"}, ROS | LEARNING | {"mujoco"}),
    "report": ({"core", "bags", "report"}, ROS | LEARNING | {"mujoco"}),
}
CORE_MAY_IMPORT = {"numpy"}
# Beside the layers, so that those that may import nothing of ROS can read a parameter file, too.
FOUNDATION = "rtc_ros/parameter_files.py"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imported(path: Path, package: str) -> set[str]:
    """Absolute dotted names of everything that the module imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def modules(repo: Path, folder: str) -> list[tuple[Path, set[str]]]:
    found = []
    for path in sorted((repo / folder).rglob("*.py")):
        package = ".".join(path.relative_to(repo).parent.parts)
        found.append((path.relative_to(repo), imported(path, package)))
    assert found, f"{folder} has no modules"
    return found


def stdlib_or(name: str, allowed: set[str]) -> bool:
    top = name.split(".")[0]
    return top in sys.stdlib_module_names or top in allowed


def test_imports_are_read_at_any_depth_and_relative_ones_are_resolved(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("def f():\n    import torch.nn\nfrom ..core import chunk\nfrom . import a\n")
    names = imported(source, "rtc_ros.handoff")
    assert {"torch.nn", "rtc_ros.core", "rtc_ros.core.chunk", "rtc_ros.handoff.a"} <= names


def test_what_all_layers_may_import_imports_nothing_of_ours_and_only_yaml(repo: Path) -> None:
    names = imported(repo / FOUNDATION, "rtc_ros")
    assert not [name for name in names if not stdlib_or(name, {"yaml"})]


@pytest.mark.parametrize("layer", RULES)
def test_layer_imports_only_the_layers_below_it(repo: Path, layer: str) -> None:
    ours, forbidden = RULES[layer]
    wrong = []
    for path, names in modules(repo, f"rtc_ros/{layer}"):
        for name in sorted(names):
            parts = name.split(".")
            if parts[0] == "rtc_ros":
                if len(parts) > 1 and parts[1] not in ours and parts[1] != "__version__":
                    wrong.append(f"{path}: {name}")
            elif forbidden is None:
                if not stdlib_or(name, CORE_MAY_IMPORT):
                    wrong.append(f"{path}: {name}")
            elif parts[0] in forbidden:
                wrong.append(f"{path}: {name}")
    assert not wrong, "imports against the layers:\n" + "\n".join(wrong)


READERS = {
    "imdecode": {"bags/images.py"},
    "imgmsg_to_cv2": {"inference/camera_input.py"},  # what ``images.plain`` lets it have
    "read_positions": {"preflight/joints.py", "ros/joint_input.py", "bags/joint_columns.py"},
    "get_single_data": {"parameter_files.py", "controller/joint_limits_file.py"},
    "safe_load": {
        "bringup.py",  # a launch argument's value
        "bags/bag_files.py",  # a bag's metadata
    },
}
"""By the name of a call: where it may be, and is."""


def test_images_joint_states_and_parameter_files_have_one_reader_each(repo: Path) -> None:
    """Preflight, nodes, replay and continuity once read different numbers out of one message."""
    found: dict[str, set[str]] = {name: set() for name in READERS}
    for path in (repo / "rtc_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in found:
                    found[name].add(str(path.relative_to(repo / "rtc_ros")))
    assert found == READERS


def test_nobody_imports_the_commands(repo: Path) -> None:
    wrong = [
        f"{path}: {name}"
        for path, names in modules(repo, "rtc_ros")
        for name in sorted(names)
        if name.startswith("rtc_ros.tools") and path.parts[1] != "tools"
    ]
    assert not wrong


def test_only_the_modules_for_it_import_lerobot(repo: Path) -> None:
    users = {
        str(path)
        for path, names in modules(repo, "rtc_ros")
        if any(name.split(".")[0] == "lerobot" for name in names)
    }
    assert users == LEROBOT_MODULES


def test_what_looks_at_a_checkpoint_starts_neither_torch_nor_lerobot(repo: Path) -> None:
    """Preflight and a node that is asked before its policy is there wait for neither."""
    code = "import sys, rtc_ros.policy.checkpoint as c, rtc_ros.policy.families\n"
    code += f"print(sorted({LEARNING!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['safetensors']"


def test_the_nodes_of_a_real_robot_import_nothing_of_the_simulation(repo: Path) -> None:
    users = [
        str(path)
        for folder in ("controller", "inference", "ros", "recorder", "monitor")
        for path, names in modules(repo, f"rtc_ros/{folder}")
        if any(name.startswith("rtc_ros.sim") for name in names)
    ]
    assert not users


# ------------------------------------------------------------------------------- no pickles

PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def unpickles(tree: ast.AST) -> list[str]:
    """Return what a module does that could execute what it reads."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom):
            found += [m for m in [node.module or ""] if m.split(".")[0] in PICKLES]
        elif isinstance(node, ast.Call) and "load" in ast.dump(node.func):
            called = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called == "torch.load" and given.get("weights_only") != "True":
                found.append("torch.load without weights_only")
            if (
                called in ("np.load", "numpy.load")
                and given.get("allow_pickle", "False") != "False"
            ):
                found.append("numpy.load with allow_pickle")
            if called == "yaml.load":
                found.append("yaml.load")
    return found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import pickle", 1),
        ("from joblib import load", 1),
        ("torch.load(path)", 1),
        ("torch.load(path, weights_only=True)", 0),
        ("np.load(path, allow_pickle=True)", 1),
        ("np.load(path)", 0),
        ("yaml.load(text)", 1),
        ("yaml.safe_load(text)", 0),
    ],
)
def test_what_could_execute_data_is_found(source: str, count: int) -> None:
    assert len(unpickles(ast.parse(source))) == count


def test_nothing_is_ever_unpickled(repo: Path) -> None:
    found = {
        str(path.relative_to(repo)): unpickles(tree_of(path))
        for path in sorted((repo / "rtc_ros").rglob("*.py"))
    }
    assert len(found) > 100 and not {path: what for path, what in found.items() if what}
