"""A repository in miniature: fake train and test commands, configs, a suite."""

import json
from pathlib import Path

import pytest
import yaml

from mae_bench.datasets.miniworld.world import MiniWorldSize, build

REPOSITORY = Path(__file__).resolve().parents[2]
# Stands for tools/train.py and tools/test.py. behaviour.json says what a job does; events.txt
# keeps what happened in which order.
FAKE_COMMAND = """
import argparse, hashlib, json, os, sys, time
from pathlib import Path
from mae_bench.results.labels import run_labels
from mae_bench.files import sha256_of
from mae_bench.results.record import Record, config_sha256, write_record

def remembered_sha256(config, overrides):
    # importing MMEngine for each job takes longer than all else
    key = hashlib.sha256((Path(config).read_text() + json.dumps(overrides)).encode()).hexdigest()
    path = Path(os.environ["CONFIG_HASHES"], key)
    if not path.exists():
        path.write_text(config_sha256(config, overrides))
    return path.read_text() or config_sha256(config, overrides)  # empty: being written

parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("tested", nargs="?")
parser.add_argument("--work-dir", type=Path, required=True)
parser.add_argument("--out", type=Path)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--checkpoint")
parser.add_argument("--cfg-options")
parser.add_argument("--launcher")
parser.add_argument("--amp")
args = parser.parse_args()
folder = args.work_dir
name = "/".join(folder.parts[-3:])
key, seed = args.cfg_options.split("=")

def event(kind):
    with open("events.txt", "a") as file:
        file.write(f"{kind} {name}\\n")

what = json.loads(Path("behaviour.json").read_text()).get(name, "ok")
if os.environ.get("RANK", "0") != "0":
    event(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}, {args.launcher}, {args.amp}:")
    sys.exit("made to fail" if what == "rank fails" else 0)
event("start")
if what == "rank fails":
    what = "hang"
checkpoint = args.tested or args.checkpoint
if checkpoint and not Path(checkpoint).is_file():
    sys.exit("no checkpoint")
if what == "fail":
    print("ordinary line")
    sys.exit("RuntimeError: out of luck\\n  where: somewhere")
if what == "disk full":
    sys.exit(75)
if what == "hang":
    Path("hanging.pid").write_text(str(os.getpid()))
    time.sleep(60)
if what != "no record":
    (folder / "checkpoint.safetensors").write_text(f"weights of {name}")
    labels = run_labels(folder, args.config, checkpoint)
    overrides = {key: int(seed)}
    write_record(Record(
        task=labels.task, initialisation=labels.initialisation, metrics={"score": 50.0 + int(seed)},
        config_file=args.config, config_sha256=remembered_sha256(args.config, overrides),
        overrides=overrides, seed=int(seed),
        checkpoint={"file": checkpoint, "sha256": sha256_of(checkpoint), "report": None}
        if checkpoint else None,
        run_card={"threads": os.environ["OMP_NUM_THREADS"]}, data_counts={}, versions={},
        git_revision=None, device="cpu", started="2024-01-01T00:00:00+00:00",
        finished="2024-01-01T00:00:01+00:00", duration_seconds=1.0, peak_memory_mib=None,
        cells=labels.cells,
    ), args.out or folder / "record.json")
event("end")
"""


class Workplace:
    """The miniature repository, which is the current folder of the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.suite_file = "suite.yaml"
        self.work_dir = Path("work")
        self.suite = {
            "name": "test suite",
            "seeds": [0],
            "baseline": "random",
            "tasks": {
                "robustness": {"config": "rob.py", "test": "finetune"},
                "finetune": {"config": "fine.py"},
                "linear": {"config": "lin.py"},
            },
            "columns": {
                "r": {"task": "robustness", "metric": "score"},
                "f": {"task": "finetune", "metric": "score"},
                "l": {"task": "linear", "metric": "score"},
            },
            "rows": {"random": {}, "MAE": {"start": {"pretrain": "pre.py", "minutes": 5}}},
        }
        (root / "tools").mkdir()
        for name in ("train.py", "test.py"):
            (root / "tools" / name).write_text(FAKE_COMMAND)
        for name in ("pre.py", "fine.py", "lin.py", "rob.py"):
            (root / name).write_text(f"lr = 1.0\nwhat = {name!r}\n")
        self.write()
        self.behave({})

    def write(self) -> str:
        """Write the suite file and return its name."""
        Path(self.root, self.suite_file).write_text(yaml.safe_dump(self.suite, sort_keys=False))
        return self.suite_file

    def only(self, *tasks: str) -> None:
        """Leave out all other tasks, where fewer jobs show the same."""
        self.suite["tasks"] = {name: self.suite["tasks"][name] for name in tasks}
        columns = self.suite["columns"].items()
        self.suite["columns"] = {title: of for title, of in columns if of["task"] in tasks}

    def behave(self, behaviour: dict[str, str]) -> None:
        """Job name -> what its command does: "ok", "fail", "hang", "no record" or "rank fails"."""
        Path(self.root, "behaviour.json").write_text(json.dumps(behaviour))

    def events(self) -> list[str]:
        """Lines "start NAME" and "end NAME" in the order they were written; then forgotten."""
        path = Path(self.root, "events.txt")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="session")
def config_hashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the fake commands remember the hashes of configs."""
    return tmp_path_factory.mktemp("hashes")


@pytest.fixture
def workplace(tmp_path: Path, config_hashes: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The current folder, turned into a small repository without GPUs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("CONFIG_HASHES", str(config_hashes))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A tiny MiniWorld."""
    root = tmp_path_factory.mktemp("data") / "miniworld"
    size = MiniWorldSize(
        train_images=20,
        val_images=10,
        corrupted_images=10,
        train_lists=(10,),
        train_scenes=10,
        val_scenes=4,
    )
    build(root, processes=1, size=size)
    return root


@pytest.fixture
def repository(world, tmp_path, monkeypatch) -> Path:
    """The current folder: the commands, configs and a tiny MiniWorld."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for name in ("configs", "tools"):
        Path(name).symlink_to(REPOSITORY / name)
    Path("data").mkdir()
    Path("data/miniworld").symlink_to(world)
    return tmp_path
