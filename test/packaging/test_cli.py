"""The `rtc_ros` command: every tool is listed and there; what is not there gets a sentence."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtc_ros import __version__
from rtc_ros.tools.cli import COMMANDS


def rtc_ros(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtc_ros.tools.cli", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_command_with_what_it_does(words: tuple[str, ...]) -> None:
    done = rtc_ros(*words)
    assert (done.returncode, done.stderr) == (0, "")
    for command, (_, what) in COMMANDS.items():
        assert f"rtc_ros {' '.join(command)} " in done.stdout and what in done.stdout


def test_the_version_is_the_package_s() -> None:
    assert rtc_ros("--version").stdout == f"rtc_ros {__version__}\n"


@pytest.mark.parametrize("words", ["--help", "continuity --help"])
def test_who_reads_the_output_may_go(words: str) -> None:
    """As ``| head -1`` does, before all of it was written."""
    line = f"{sys.executable} -m rtc_ros.tools.cli {words} | (sleep 0; exec 0<&-)"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=60
    )
    assert "BrokenPipe" not in done.stderr and done.stderr == "", done.stderr
    assert done.returncode in (0, 141)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_s_module_is_there_and_takes_the_rest_of_the_line(
    command: tuple[str, ...],
) -> None:
    spec = importlib.util.find_spec(COMMANDS[command][0])
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (main,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")
    assert [a.arg for a in main.args.args] == ["argv"] and len(main.args.defaults) == 1


@pytest.mark.parametrize("command", [("start",), ("continuity",), ("film",)], ids=" ".join)
def test_a_command_s_own_help_names_it(command: tuple[str, ...]) -> None:
    done = rtc_ros(*command, "--help")
    assert done.returncode == 0
    assert f"usage: rtc_ros {' '.join(command)}" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fly",), "has no command 'fly': there are bench, continuity, demo, "),
        (("bench", "sun"), "has no command 'bench sun': there are bench handoff, bench tick"),
        (("sim",), "has no command 'sim': there are sim record, sim train, "),
        (("--verbose",), "has no command '--verbose'"),
    ],
)
def test_an_unknown_command_is_one_sentence_and_2(words: tuple[str, ...], sentence: str) -> None:
    done = rtc_ros(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError('no cv2', name='cv2')")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = rtc_ros("film", "bag", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr.startswith("rtc_ros film needs the Python package cv2, which is not")
    assert done.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------- paths


def test_no_command_line_takes_a_path_as_it_stands(repo: Path) -> None:
    """``--out=~/report`` made a folder named ``~``."""
    plain, ours = [], 0
    for path in sorted((repo / "rtc_ros").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "type":
                kind = ast.unparse(node.value)
                ours += kind in ("a_path", "path_text")
                if kind.rpartition(".")[2] in ("Path", "PurePath") or "open" in kind:
                    plain.append(f"{path.relative_to(repo)}:{node.value.lineno}")
    assert not plain and ours > 30


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (("layouts", "$PARAMETERS", "--out=~/plots"), "plots"),
        (("layouts", "$PARAMETERS", "--out", "${RUNS}/plots"), "runs/plots"),
        (("continuity", "$BAG", "--json=~/report.json"), "report.json"),
    ],
)
def test_paths_on_a_command_line_are_expanded(
    repo: Path, tmp_path: Path, words: tuple[str, ...], made: str
) -> None:
    home = {
        "HOME": str(tmp_path),
        "RUNS": str(tmp_path / "runs"),
        "PARAMETERS": str(repo / "config" / "sim.yaml"),
        "BAG": str(repo / "test" / "bags" / "data" / "demo_1"),
        "PYTHONPATH": str(repo),
    }
    (tmp_path / made).parent.mkdir(exist_ok=True)
    if not made.endswith(".json"):
        (tmp_path / made).mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "rtc_ros.tools.cli", *words],
        cwd=tmp_path,
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    written = tmp_path / made
    assert written.is_file() or list(written.iterdir())
    assert not list(tmp_path.glob("*~*"))


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    done = rtc_ros("continuity", "$RTC_NOT_SET/bag")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "names the environment variable RTC_NOT_SET, which isn't set" in done.stderr
