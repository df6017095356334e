"""What cannot be known without a GPU: the tests that need one, then all that is timed.

    tools/benchmark.py gpu [--out DIR]               # make test-gpu
    tools/benchmark.py gpu --device cpu --out DIR    # a rehearsal at tiny sizes

Runs tests/gpu, then the benchmarks of pre-training, detection, segmentation and evaluation at
ViT-B, ViT-L and ViT-H and that of loading, each part in a process of its own. DIR/gpu.json has
everything, DIR/gpu.md the same as tables, DIR/<part>.log what a part printed; they are written
after each part. Started again, what was done by the same commit on the same machine stays. What
does not fit the GPU is told as out of memory. Exit code 1: a test or a benchmark failed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import torch

from mae_bench.files import read_json, write_atomic, write_json_atomic
from mae_bench.results.environment import git_revision, package_versions

from .measure import MIB, OUT_OF_MEMORY, Spread, describe_machine, shown

ROOT = Path(__file__).resolve().parents[1]
DEVICE_VARIABLE = "GPU_TESTS_DEVICE"  # read by tests/gpu/device.py
DONE, FAILED = "done", "failed"
# Images of a step with 80 GB, of pre-training, detection and segmentation; with less memory fewer.
BATCHES = {"base": (256, 4, 16), "large": (128, 2, 8), "huge": (64, 1, 4)}
BATCHES_FOR_MIB = 80_000
BOTH = ["--dtypes", "float32", "bfloat16"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``tools/benchmark.py gpu``."""
    parser.add_argument("--out", type=Path, default=Path("work_dirs/gpu"), help="folder to write")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal, tiny sizes"
    )


def timed_parts(rehearsal: bool) -> dict[str, list[str]]:
    """Arguments of tools/benchmark.py, by the name of the part."""
    if rehearsal:
        dense = ["--arch", "tiny", "--rounds", "1", "--dtypes", "bfloat16"]
        few = ["--images", "8", "--rounds", "1"]
        return {
            "pretrain_tiny": ["pretrain", "--size", "tiny", "--batch", "2", "--rounds", "1"],
            "det_tiny": ["det", "--size", "128", *dense],
            "seg_tiny": ["seg", "--size", "64", *dense],
            "evaluation_tiny": ["evaluation", "--model", "linear", "--batch", "4", *few],
            "loader": ["loader", "--step-batch", "2", *few],
        }
    share = min(1.0, torch.cuda.get_device_properties(0).total_memory / MIB / BATCHES_FOR_MIB)
    workers = ["--workers", str(min(16, os.cpu_count() or 1))]
    parts = {}
    for size, batches in BATCHES.items():
        # segmentation has batch norm, which needs two images
        pretrain, det, seg = (max(2, int(share * batch)) for batch in batches)
        step = ["pretrain", "--size", size, "--batch", str(pretrain), *BOTH]
        parts[f"pretrain_{size}"] = step
        parts[f"pretrain_{size}_compiled"] = [*step, "--compile", "--peers"]
        parts[f"det_{size}"] = ["det", "--arch", size, "--batch", str(det), *BOTH]
        parts[f"seg_{size}"] = ["seg", "--arch", size, "--batch", str(seg), *BOTH]
        model = f"vit_{size}_patch{14 if size == 'huge' else 16}_224"
        many = ["--model", model, "--images", "4096", "--batch", "256", *workers]
        parts[f"evaluation_{size}"] = ["evaluation", *many]
    return {**parts, "loader": ["loader"]}


def run(args: argparse.Namespace) -> int:
    """Run all parts that are not done yet.

    Returns:
        0, or 1 where a test or a benchmark failed.

    Raises:
        ValueError: PyTorch finds no GPU.
    """
    rehearsal = args.device == "cpu"
    if not rehearsal and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs only"
        raise ValueError(
            f"this needs a GPU, and PyTorch {torch.__version__} (built for {built}) finds none: "
            "nothing was tested. --device cpu rehearses it at tiny sizes"
        )
    commands = {
        f"tests_{path.stem.removeprefix('test_')}": ["-m", "pytest", "-m", "gpu", str(path)]
        for path in sorted(ROOT.glob("tests/gpu/test_*.py"))
    }
    for name, arguments in timed_parts(rehearsal).items():
        commands[name] = ["tools/benchmark.py", *arguments]
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = dict(about=describe(args.device), parts={})
    report["parts"] = parts_to_keep(out / "gpu.json", report["about"], commands)
    for number, (name, command) in enumerate(commands.items(), 1):
        if name not in report["parts"]:
            print(f"\n=== {name}, {number} of {len(commands)}", flush=True)
            report["parts"][name] = run_part(name, command, out, args.device)
            write_json_atomic(report, out / "gpu.json")
            write_atomic(as_markdown(report).encode(), out / "gpu.md")
        print(f"=== {name}: {report['parts'][name]['status']}", flush=True)
    failed = [name for name, part in report["parts"].items() if part["status"] == FAILED]
    print(f"\n{out / 'gpu.json'}, {out / 'gpu.md'}")
    print(f"FAILED: {', '.join(failed)}" if failed else "nothing failed")
    return 1 if failed else 0


def describe(device: str) -> dict[str, Any]:
    """What the numbers depend on: machine, versions, commit."""
    about: dict[str, Any] = dict(device=device, revision=git_revision(ROOT))
    about["packages"] = package_versions()
    if device == "cuda":
        about["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        about["cuda"], about["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
        about["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    else:
        about["machine"] = describe_machine().splitlines()[0]
    return about


def parts_to_keep(
    path: Path, about: dict[str, Any], commands: dict[str, list[str]]
) -> dict[str, Any]:
    """What an interrupted run of the same commit on the same machine has done; failures not."""
    if not path.exists():
        return {}
    before = read_json(path)
    revision = about["revision"]
    known = revision is not None and not revision.endswith("-dirty")
    if not known or before["about"] != about or before["parts"].keys() == commands.keys():
        return {}
    return {
        name: part
        for name, part in before["parts"].items()
        if part["status"] != FAILED and part["command"] == commands.get(name)
    }


def run_part(name: str, command: list[str], out: Path, device: str) -> dict[str, Any]:
    """Run one part in a process, shown and kept in a log, and read what it measured."""
    found = out / f"{name}.found"
    found.unlink(missing_ok=True)
    tests = command[0] == "-m"
    where = ["--junitxml", str(found), "-o", "junit_family=legacy"]
    hidden = {} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    start = time.monotonic()
    with (
        subprocess.Popen(
            [sys.executable, *command, *(where if tests else ["--json", str(found)])],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), DEVICE_VARIABLE: device, **hidden},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
        (out / f"{name}.log").open("w", encoding="utf-8") as log,
    ):
        lines = []
        for line in process.stdout or ():
            print(line, end="", flush=True)
            log.write(line)
            lines.append(line)
    part: dict[str, Any] = dict(command=command, seconds=time.monotonic() - start, status=DONE)
    if process.returncode:
        too_large = not tests and any("OutOfMemoryError" in line for line in lines)
        part["status"] = OUT_OF_MEMORY if too_large else FAILED
        part["message"] = "".join(lines[-5:])
    if found.exists():
        part.update(dict(tests=read_tests(found)) if tests else json.loads(found.read_text()))
        found.unlink()
    if tests and {test["outcome"] for test in part.get("tests", [])} != {"passed"}:
        part["status"] = FAILED  # also where one was skipped, or none was found
    return part


def read_tests(path: Path) -> list[dict[str, Any]]:
    """Name, outcome, seconds and measured properties of each test, from pytest's JUnit XML."""
    tests = []
    for case in ElementTree.parse(path).iter("testcase"):
        wrong = [child for child in case if child.tag in ("failure", "error", "skipped")]
        measured = {p.get("name", ""): _number(p.get("value", "")) for p in case.iter("property")}
        tests.append(
            dict(
                name=case.get("name"),
                outcome=wrong[0].tag if wrong else "passed",
                seconds=float(case.get("time", 0)),
                measured=measured,
                **({"message": wrong[0].get("message")} if wrong else {}),
            )
        )
    return tests


def _number(text: str) -> float | str:
    """The number that a property was, if it was one and finite."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def as_markdown(report: dict[str, Any]) -> str:
    """The tables of all parts, for the documentation."""
    about = report["about"]
    device = ", ".join(about.get("gpus", [about.get("machine", "")]))
    lines = [f"{device}; PyTorch {about['packages']['torch']}; commit {about['revision']}"]
    for name, part in report["parts"].items():
        lines += ["", f"## {name}: {part['status']}, {part['seconds']:.0f} s"]
        if "tests" in part:
            rows = [
                [test["name"], test["outcome"], _measured(test["measured"])]
                for test in part["tests"]
            ]
            lines += ["", *_table(["test", "outcome", "measured"], rows)]
        for table in part.get("tables", []):
            title = (table["title"] or "").lstrip("# ")
            lines += ["", *([title, ""] if title else []), *_table(table["header"], table["rows"])]
    return "\n".join(lines) + "\n"


def _measured(properties: dict[str, float | str]) -> str:
    return "; ".join(f"{name} {shown(value)}" for name, value in properties.items())


def _table(header: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [header, ["---"] * len(header)]
    lines += [[Spread(**cell) if isinstance(cell, dict) else cell for cell in row] for row in rows]
    return [f"| {' | '.join(map(shown, line))} |" for line in lines]
