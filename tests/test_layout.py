"""The layout of docs/architecture.md: no cycle, no arrow upward, one place for each thing."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mae_bench

PACKAGE = Path(mae_bench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# What lies beside the rooms, and imports none of them.
BESIDE = {
    "__main__": {"cli"},  # but for the door
    "attempt": set(),
    "distributed": set(),
    "download": set(),
    "files": set(),
    "processes": set(),
    "registry": set(),
    "run_folder": set(),
    "signature": set(),
    "text": set(),
}
# From the ground up: a room may import those below it, and what lies beside the rooms.
ROOMS = (
    {"models"},
    {"checkpoint"},
    {"datasets"},
    {"openmmlab"},
    {"config", "evaluation", "visualize"},
    {"recipe"},
    {"results"},
    {"training"},
    {"suite"},
    {"cli"},
)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports_of(path: Path, at_import: bool = False) -> set[str]:
    """Modules of the package that a file imports; `at_import`: only those outside of functions."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    if at_import:
        inner = {
            id(node)
            for function in nodes
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            or (isinstance(function, ast.If) and "TYPE_CHECKING" in ast.unparse(function.test))
            for node in ast.walk(function)
        }
        nodes = [node for node in nodes if id(node) not in inner]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            name = ".".join([*base, *([node.module] if node.module else [])])
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
        else:
            continue
        if name.split(".")[0] != "mae_bench":
            continue
        for alias in node.names:
            full = f"{name}.{alias.name}"
            found.add(full if full in MODULES else name)
    return found - {module_name(path)}


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (PACKAGE / parts[-1]).is_dir() else None


def test_no_import_cycle():
    graph = {
        name: imports_of(path, at_import=True) & set(MODULES) for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_arrow_upward():
    level = {name: index for index, names in enumerate(ROOMS) for name in names}
    upward = []
    for name, path in MODULES.items():
        own = room(name)
        for other in imports_of(path):
            target = room(other)
            if None not in (own, target) and own != target and level[target] > level[own]:
                upward.append(f"{name} imports {other}")
    assert upward == []


def test_every_room_is_listed():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set.union(*ROOMS)


def test_what_lies_beside_the_rooms_is_listed_and_imports_none():
    page = PACKAGE.with_name("docs").joinpath("architecture.md").read_text(encoding="utf-8")
    beside = {path.stem: path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    assert beside.keys() == BESIDE.keys()
    for name, path in beside.items():
        assert {room(other) for other in imports_of(path)} - {None} == BESIDE[name]
        assert name == "__main__" or f"`{name}.py`" in page
    for name in set.union(*ROOMS):
        assert f"`{name}/`" in page


def test_a_file_name_occurs_once():
    names = Counter(path.name for path in FILES if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


LOADED = """
import sys
import mae_bench.models
print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


def test_models_import_no_host_library_but_mmengine():
    hosts = ["mmcv", "mmdet", "mmseg", "mmpretrain", "pycocotools", "faster_coco_eval"]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED, *hosts],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["[]"]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_what_amends_openmmlab_stands_in_its_room(path):
    """Classes that derive from a model, head or metric of a host library are in ``openmmlab``."""
    if room(module_name(path)) in ("openmmlab", "datasets"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hosts = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").partition(".")[0] in ("mmcv", "mmdet", "mmseg", "mmpretrain")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base) for base in node.bases}
            assert not bases & hosts, f"{node.name} derives from {bases & hosts}"


# Of other libraries, or a reader's own.
NOT_OURS = (
    "tools/COMMAND.py",
    "configs/mae/",
    "configs/beit/",
    "configs/selfsup/",
    "mine.py",
    "cls/r.py",
)
NAMED_PATH = re.compile(
    r"(?<![\w/])(?:configs|docs|tools|tests|mae_bench|benchmarks)/[\w/{},*-]+\.(?:py|yaml|md)"
)


def expand(text: str) -> list[str]:
    """``a_{b,c}`` as a shell has it."""
    found = re.search(r"\{([^{}]*)\}", text)
    if found is None:
        return [text]
    before, after = text[: found.start()], text[found.end() :]
    return [path for part in found[1].split(",") for path in expand(before + part + after)]


def test_a_file_that_is_named_is_there():
    root = PACKAGE.parent
    files = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *FILES]
    files += [path for path in root.glob("configs/**/*.*") if path.suffix in (".py", ".yaml")]
    absent = [
        f"{path.relative_to(root)}: {name}"
        for path in files
        for text in NAMED_PATH.findall(path.read_text(encoding="utf-8"))
        for name in expand(text)
        if not any(part in name for part in NOT_OURS) and not list(root.glob(name))
    ]
    assert not absent
