"""Every registered class of the package can be had from a config of any scope, by its name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mae_bench

PACKAGE = Path(mae_bench.__file__).parent


def registered_classes() -> list[tuple[str, str, str]]:
    """Registry, class and module of each class that is decorated with a registry of ours."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                text = ast.unparse(decorator)
                if text.endswith(".register_module()"):
                    found.append((text.partition(".")[0], node.name, module))
    return found


CLASSES = registered_classes()

# In a fresh interpreter for each registry: here other tests have imported everything already.
LOOK_UP = """
import sys
from mmengine import registry
kind, *names = sys.argv[1:]
for scope in ("mmengine", "mmpretrain"):
    with getattr(registry, kind).switch_scope_and_registry(scope) as found:
        for name in names:
            print(getattr(found.get("mae_bench." + name), "__module__", None))
"""


def test_the_package_was_walked():
    assert ("MODELS", "VisionTransformer", "mae_bench.models.vit") in CLASSES
    assert len(CLASSES) > 30


FAST = {"MODELS", "HOOKS"}  # each imports the hosts anew


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in FAST else pytest.mark.slow)
        for kind in sorted({kind for kind, _, _ in CLASSES})
    ],
)
def test_by_name_with_nothing_imported_before(kind):
    names = [(name, module) for one, name, module in CLASSES if one == kind]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK_UP, kind, *(name for name, _ in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    modules = [module for _, module in names]
    found = [line for line in result.stdout.splitlines() if line == "None" or "mae_bench" in line]
    assert found == [*modules, *modules], result.stderr
