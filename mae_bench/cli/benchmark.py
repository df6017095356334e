"""Speed and memory against the closest peers, measured in one run."""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


def find_benchmarks() -> dict[str, str]:
    """Sub-commands and the first lines of their help: the modules that have a function ``run``.

    They are read, not imported: each imports the libraries it compares, which takes seconds.

    Raises:
        FileNotFoundError: this is an installed package, which has no benchmarks.
    """
    if not FOLDER.is_dir():
        raise FileNotFoundError(
            f"{FOLDER}: no such folder; benchmarks are part of the repository, not of the package: "
            "run tools/benchmark.py in a checkout"
        )
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in module.body):
            summary = (ast.get_docstring(module) or "").partition("\n")[0]
            found[path.stem.replace("_", "-")] = summary
    return found


def main() -> int | None:
    """Hand over to the sub-command's module, which may give an exit code."""
    found = find_benchmarks()
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    chosen = next((argument for argument in sys.argv[1:] if argument in found), None)
    module = None
    for name, summary in found.items():
        command = commands.add_parser(name, help=summary.replace("%", "%%"), description=summary)
        if name == chosen:
            module = import_module(f"{FOLDER.name}.{name.replace('-', '_')}")
            command.description = module.__doc__
            command.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(command)
            command.add_argument("--json", metavar="FILE", help="keep the tables there too")
    args = parser.parse_args()
    assert module is not None, "argparse accepts the names found only"
    try:
        return module.run(args)
    finally:  # also those of a run that was stopped
        if args.json:
            import_module(f"{FOLDER.name}.measure").write_tables(args.json)
