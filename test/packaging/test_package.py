"""What a build installs: versions that agree, entry points that resolve, files that are listed."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import rtc_ros

REPO = Path(__file__).resolve().parents[2]
LAUNCH_ARGUMENTS = {
    "beta",
    "namespace",
    "params_file",
    "policy_path",
    "s_min",
    "use_sim_time",
}
EXECUTABLES = {"rtc_ros", "rtc_sim", "rtc_link", "rtc_link_gpu"} | {
    f"rtc_{name}" for name in ("controller", "inference", "monitor", "recorder")
}
LAUNCH_FILES = sorted((REPO / "launch").glob("*.launch.py"))
CONFIG_FILES = sorted((REPO / "config").rglob("*.yaml"))


@pytest.fixture(scope="module")
def package_xml() -> ElementTree.Element:
    return ElementTree.parse(REPO / "package.xml").getroot()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation of this checkout as colcon makes it: setup.py install into a prefix."""
    top = tmp_path_factory.mktemp("install")
    prefix = top / "prefix"
    command = [sys.executable, "-W", "ignore", "setup.py", "-q"]
    command += ["egg_info", "--egg-base", str(top), "build", "--build-base", str(top / "build")]
    command += ["install", "--prefix", str(prefix), "--record", str(top / "record")]
    command += ["--single-version-externally-managed"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return prefix


def entry_points() -> dict[str, str]:
    """Return name -> "module:function" of the console scripts, from the text of setup.py."""
    for node in ast.walk(ast.parse((REPO / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "entry_points":
            lines = ast.literal_eval(node.value)["console_scripts"]
            return {name: target for name, target in (re.split(r"\s*=\s*", x) for x in lines)}
    raise AssertionError("setup.py names no entry_points")


def test_versions_agree(package_xml: ElementTree.Element) -> None:
    assert package_xml.findtext("version") == rtc_ros.__version__


def test_package_xml_is_a_format_3_ament_python_package(package_xml: ElementTree.Element) -> None:
    assert package_xml.get("format") == "3"
    assert package_xml.findtext("name") == "rtc_ros"
    assert package_xml.findtext("export/build_type") == "ament_python"
    assert package_xml.findtext("license") == "Apache-2.0"


def test_package_xml_names_the_ros_packages_that_the_code_imports(
    package_xml: ElementTree.Element,
) -> None:
    declared = {element.text for element in package_xml.findall("exec_depend")}
    ros = re.compile(
        r"^\s*(?:from|import) (rclpy|cv_bridge|ament_index_python|launch|launch_ros|rcl_interfaces"
        r"|builtin_interfaces|\w+_msgs|std_srvs)\b",
        re.MULTILINE,
    )
    sources = [*(REPO / "rtc_ros").rglob("*.py"), *(REPO / "launch").glob("*.py")]
    used = {name for path in sources for name in ros.findall(path.read_text(encoding="utf-8"))}
    assert used <= declared, f"package.xml lacks exec_depend for {sorted(used - declared)}"


def test_setup_names_the_executables() -> None:
    assert set(entry_points()) == EXECUTABLES


@pytest.mark.parametrize("name", sorted(EXECUTABLES))
def test_entry_point_resolves(name: str) -> None:
    module, function = entry_points()[name].split(":")
    assert importlib.util.find_spec(module) is not None, f"{name}: no module {module}"
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in defined, f"{name}: {module} defines no function {function}"


def test_install_has_marker_manifest_and_executables(built: Path) -> None:
    assert (built / "share/ament_index/resource_index/packages/rtc_ros").is_file()
    assert (built / "share/rtc_ros/package.xml").is_file()
    scripts = {path.name for path in (built / "lib/rtc_ros").iterdir()}
    assert scripts == EXECUTABLES


def test_install_has_every_launch_and_configuration_file(built: Path) -> None:
    share = built / "share/rtc_ros"
    for source in [*LAUNCH_FILES, *CONFIG_FILES]:
        assert (share / source.relative_to(REPO)).read_bytes() == source.read_bytes()


def test_install_has_the_package_s_data_files(built: Path) -> None:
    (installed,) = built.glob("lib/python3*/site-packages/rtc_ros")
    data = [
        path.relative_to(REPO / "rtc_ros")
        for path in (REPO / "rtc_ros").rglob("*")
        if path.is_file() and path.suffix in {".json", ".safetensors", ".yaml", ".txt", ".typed"}
    ]
    missing = [str(path) for path in data if not (installed / path).is_file()]
    assert not missing, f"setup.py's package_data leaves out {missing}"


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.name)
def test_configuration_parses_and_is_not_empty(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file_defines_the_function_that_ros2_launch_calls(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "generate_launch_description" in functions


def test_the_two_launch_files_are_there() -> None:
    assert {path.name for path in LAUNCH_FILES} >= {"rtc.launch.py", "sim.launch.py"}


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_arguments_are_declared_and_described(path: Path) -> None:
    pytest.importorskip("launch_ros", reason="the launch system is not among the wheels")
    spec = importlib.util.spec_from_file_location("launch_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = module.generate_launch_description().get_launch_arguments()
    described = {argument.name for argument in arguments if argument.description}
    assert described >= LAUNCH_ARGUMENTS
