"""What the documents name exists: files, functions, tests, commands, arguments, topics.

Read from source text alone, so it needs neither ROS nor torch. Each check is a function from a
page's text to the list of what is wrong in it, and is shown to find a wrong name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted(
    p
    for pattern in ("*.md", "docs/*.md", "rtc_ros/checkpoints/*/README.md")
    for p in REPO.glob(pattern)
)
INTERFACE = REPO / "docs" / "interface.md"
RCLPY_NAMES = {
    "~/transition_event",
    "~/change_state",
    "~/get_state",
    "~/set_parameters_atomically",
}
"""Names in interface.md that rclpy's nodes have by themselves."""


def page_id(path: Path) -> str:
    return str(path.relative_to(REPO))


def texts(page: Path) -> str:
    return page.read_text(encoding="utf-8")


# ------------------------------------------------------------------------- source, by its text


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def names_bound(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what the statements define, assign or import."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield from ((t.id, node) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((a.asname or a.name.split(".")[0], node) for a in node.names)
        elif isinstance(node, (ast.If, ast.Try)):
            yield from names_bound([*node.body, *node.orelse])


def split_module(parts: list[str]) -> tuple[Path | None, list[str]]:
    """Return the file of the longest module that ``parts`` begin with, and the rest."""
    for end in range(len(parts), 0, -1):
        base = REPO.joinpath(*parts[:end])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file, parts[end:]
    return None, parts


def exists(name: str) -> bool:
    """Tell whether the dotted ``name`` is a module, or something that a module defines."""
    file, rest = split_module(name.split("."))
    return file is not None and attribute(file, tree_of(file).body, rest)


def attribute(file: Path, body: list[ast.stmt], names: list[str]) -> bool:
    if not names:
        return True
    node = dict(names_bound(body)).get(names[0])
    if node is None:
        return False
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rtc_ros"):
        real = next(a.name for a in node.names if (a.asname or a.name) == names[0])
        return exists(".".join([node.module or "", real, *names[1:]]))
    if isinstance(node, ast.ClassDef) and names[1:]:
        return attribute(file, node.body, names[1:]) or any(
            attribute(file, tree_of(file).body, [base, *names[1:]]) for base in bases(node)
        )
    return not names[1:]


def bases(node: ast.ClassDef) -> list[str]:
    plain = [b.value if isinstance(b, ast.Subscript) else b for b in node.bases]
    return [b.id for b in plain if isinstance(b, ast.Name)]


def first_arguments(file: str, function: str) -> set[str]:
    """Return the first arguments, where they are words, of all calls of ``function``."""
    return {
        node.args[0].value
        for node in ast.walk(tree_of(REPO / file))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == function
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def first_words_of_entry_points() -> set[str]:
    setup = (REPO / "setup.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(rtc_\w+) = ', setup))


def words_of(tree: ast.AST) -> set[str]:
    return {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is str
    }


def literals(*folders: str) -> set[str]:
    files = [f for folder in folders for f in (REPO / folder).rglob("*.py")]
    return {word for file in files for word in words_of(tree_of(file))}


def keys_of(tree: ast.AST) -> set[str]:
    dicts = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    return {key.value for d in dicts for key in d.keys if isinstance(key, ast.Constant)}


def assigned(file: str, name: str) -> ast.expr:
    node = dict(names_bound(tree_of(REPO / file).body))[name]
    assert isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
    return node.value


# -------------------------------------------------------------------------------- the checks


def code_of(text: str) -> str:
    """Return the fenced, indented and inline code of a page, a piece per line."""
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^(?: {4}|\t)(.*)$", rest, re.MULTILINE)
    return "\n".join([*fenced, *indented, *re.findall(r"`([^`]+)`", rest)])


def heading_anchors(text: str) -> set[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", h.lower()) for h in re.findall(r"^#+ +(.*)$", text, re.M))
    return {h.strip().replace(" ", "-") for h in plain}


def bad_links(text: str, page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            wrong.append(f"no file {link}")
        elif anchor and anchor not in heading_anchors(texts(target)):
            wrong.append(f"no heading for {link}")
    return wrong


def bad_names(text: str) -> list[str]:
    names = re.findall(r"(?<![\w./-])rtc_ros(?:\.[A-Za-z_]\w*)+", text)
    return [name for name in names if not exists(name)]


def bad_paths(text: str) -> list[str]:
    folders = "rtc_ros|config|test|launch|scripts|requirements|docs"
    wrong = []
    for path in re.findall(rf"(?<![\w./~{{$)-])(?:{folders})/[\w./-]*(?:::\w+)?", text):
        file, _, test = path.partition("::")
        found = REPO / file.rstrip(".")
        if not found.exists() or (test and test not in dict(names_bound(tree_of(found).body))):
            wrong.append(path)
    return wrong


def bad_commands(text: str) -> list[str]:
    commands = {
        tuple(ast.literal_eval(key)) for key in assigned("rtc_ros/tools/cli.py", "COMMANDS").keys
    }
    executables = first_words_of_entry_points()
    wrong = []
    code = code_of(text).replace("ros2 run rtc_ros rtc_ros ", "rtc_ros ")
    for before, first, second in re.findall(
        r"(ros2 run +|ros2 launch +)?(?<![\w./:-])rtc_ros +([a-z][\w.]*)(?: +([a-z]+)\b)?", code
    ):
        if before.startswith("ros2 launch"):
            good = (REPO / "launch" / first).is_file()
        elif before:
            good = first in executables
        else:
            good = (first,) in commands or (first, second) in commands
        if not good:
            wrong.append(f"{before}rtc_ros {first}")
    return wrong


def bad_arguments(text: str) -> list[str]:
    """Return the launch arguments and the parameters of `ros2 param set` that there are not."""
    arguments = first_arguments("rtc_ros/bringup.py", "Argument")
    parameters = first_arguments("rtc_ros/inference/parameters.py", "Parameter")
    code = re.sub(r"\\\n\s*", " ", code_of(text))
    wrong = []
    for line in code.splitlines():
        theirs = re.search(
            r"ros2 launch +(?!rtc_ros )", line
        )  # a driver's, with its own arguments
        if not theirs and re.search(r"\.launch\.py|rtc_ros start", line):
            wrong += [a for a in re.findall(r"\b([a-z]\w*):=", line) if a not in arguments]
        wrong += [
            name
            for name in re.findall(r"ros2 param set /rtc_\w+ ([a-z]\w*)", line)
            if name not in parameters
        ]
    return wrong


def bad_headings(text: str) -> list[str]:
    """Return the headings of the first level after the page's title."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"^# .*", prose, re.M)[1:]


CHECKS = {
    "names": bad_names,
    "paths": bad_paths,
    "commands": bad_commands,
    "arguments": bad_arguments,
    "headings": bad_headings,
}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    assert not bad_links(texts(page), page)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_what_a_page_names_exists(page: Path, check: str) -> None:
    assert not CHECKS[check](texts(page))


@pytest.mark.parametrize(
    ("check", "text", "wrong"),
    [
        ("names", "`rtc_ros.core.prefix.prefix_weight`", ["rtc_ros.core.prefix.prefix_weight"]),
        ("names", "rtc_ros.core.nothing", ["rtc_ros.core.nothing"]),
        ("names", "rtc_ros.handoff.ring.ChunkRing.attach, rtc_ros.core.delay.DelayEstimator", []),
        ("names", "rtc_ros.handoff.ring.ChunkRing.at", ["rtc_ros.handoff.ring.ChunkRing.at"]),
        ("names", "rtc_ros.core.controller.ActionChunk.row_of", []),
        ("paths", "`rtc_ros/core/prefixes.py`", ["rtc_ros/core/prefixes.py"]),
        ("paths", "`test/core/test_prefix.py::test_worked_example`, config/sim.yaml.", []),
        ("paths", "test/core/test_prefix.py::test_x", ["test/core/test_prefix.py::test_x"]),
        ("commands", "`rtc_ros continuty BAG`", ["rtc_ros continuty"]),
        ("commands", "    rtc_ros bench handoff\n`rtc_ros start sim`", []),
        ("commands", "    rtc_ros bench nothing", ["rtc_ros bench"]),
        ("commands", "`ros2 run rtc_ros rtc_nothing`", ["ros2 run rtc_ros rtc_nothing"]),
        ("commands", "`ros2 run rtc_ros rtc_ros nothing`", ["rtc_ros nothing"]),
        (
            "commands",
            "`ros2 launch rtc_ros none.launch.py`",
            ["ros2 launch rtc_ros none.launch.py"],
        ),
        ("arguments", "`ros2 launch rtc_ros sim.launch.py s_mim:=3 beta:=2.0`", ["s_mim"]),
        ("arguments", "`ros2 param set /rtc_inference betta 3.0`", ["betta"]),
        ("arguments", "`ros2 launch aloha aloha_bringup.launch.py is_mobile:=false`", []),
        ("headings", "# Title\n\n## Part\n\n    # in code\n\n# Another\n", ["# Another"]),
    ],
)
def test_a_wrong_name_is_found(check: str, text: str, wrong: list[str]) -> None:
    assert CHECKS[check](text) == wrong


def test_a_wrong_link_is_found() -> None:
    text = "[a](interface.md#topics) [b](nothing.md) [c](interface.md#nothing) [d](https://x.y)"
    assert bad_links(text, INTERFACE) == [
        "no file nothing.md",
        "no heading for interface.md#nothing",
    ]


def test_the_tree_of_the_package_names_its_files_and_no_others() -> None:
    text = texts(REPO / "docs" / "architecture.md")
    (tree,) = re.findall(r"^```\nrtc_ros/\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    folder, named = "", set()
    for line in tree.splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        if name.endswith("/"):
            folder = name
            continue
        named.add((folder if depth > 2 else "") + name)
    package = REPO / "rtc_ros"
    files = {p.relative_to(package) for p in package.rglob("*.py")}
    assert named == {str(f) for f in files if f.name not in ("__init__.py", "__main__.py")}


# ------------------------------------------------------------------ interface.md and the nodes


def node_names() -> set[str]:
    """Return the ``~/`` names that the nodes publish, subscribe to or serve."""
    folders = (f"rtc_ros/{name}" for name in ("controller", "inference", "ros"))
    return {w for w in literals(*folders) if re.fullmatch(r"~/\w+", w)}


def test_interface_names_the_nodes_own_topics_and_services_and_no_others() -> None:
    named = set(re.findall(r"`(~/\w+)`", texts(INTERFACE)))
    assert node_names() <= named
    assert named <= node_names() | RCLPY_NAMES


def test_interface_names_each_field_of_executed_swap_and_settings() -> None:
    text = texts(INTERFACE)
    provenance = "rtc_ros/ros/provenance.py"
    swap = dict(names_bound(tree_of(REPO / provenance).body))["swap_message"]
    fields = words_of(assigned(provenance, "FIELDS"))
    keys = keys_of(swap)
    settings = {
        node.target.id
        for node in ast.walk(tree_of(REPO / "rtc_ros/core/settings.py"))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert len(fields) == 13 and "previous_row" in keys and "s_min" in settings
    missing = [w for w in fields | keys | settings if not re.search(rf"[`\s]{w}[`\s]", text)]
    assert not missing


def test_interface_names_each_entry_of_diagnostics_and_each_command_type() -> None:
    text = texts(INTERFACE)
    for name in ("controller", "inference"):
        (made,) = [
            node
            for node in ast.walk(tree_of(REPO / f"rtc_ros/{name}/node.py"))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Diagnostics"
        ]
        parts = keys_of(made)
        assert len(parts) >= 3
        assert all(f"`rtc_{name}: {part}`" in text for part in parts)
    kinds = keys_of(assigned("rtc_ros/controller/command_types.py", "MESSAGE_TYPES"))
    kinds |= words_of(assigned("rtc_ros/controller/command_types.py", "CHUNK"))
    assert len(kinds) == 6
    assert all(f"| `{kind}` |" in text for kind in kinds)


def test_interface_names_each_executable() -> None:
    nodes = first_words_of_entry_points() - {"rtc_ros"}
    assert nodes and all(f"| `{name}` | `{name}`" in texts(INTERFACE) for name in nodes)
