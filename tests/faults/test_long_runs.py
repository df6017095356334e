"""A run of hours in small: memory and open files do not grow with steps, saves or jobs."""

import ctypes
import gc
import json
import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
]
TESTS = Path(__file__).parents[1]
STEPS = int(os.environ.get("FAULTS_STEPS", 10_000))
EVERY = int(os.environ.get("FAULTS_EVERY", 10))  # steps between two validations, saves and drawings
JOBS = int(os.environ.get("FAULTS_JOBS", 500))


def trim() -> None:
    """Give freed memory back to the system, which the allocator else keeps; a leak it cannot."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # of glibc


def usage(pid: int | str = "self") -> tuple[int, int]:
    """Memory of its own in KiB, without pages of files, and open files of a process."""
    resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") // 1024, len(
        os.listdir(f"/proc/{pid}/fd")
    )


def growth(seen: list[tuple[int, ...]]) -> list[float]:
    """Slope of each figure by the first one, the step, over the second half."""
    at, *figures = np.array(seen[len(seen) // 2 :], dtype=float).T
    return [float(np.polyfit(at, figure, 1)[0]) for figure in figures]


RUN = """
import gc, json, os, runpy, sys
import mmengine.runner.loops
from pathlib import Path
from mmengine.hooks import Hook
tests, images, work, steps, every = sys.argv[1:]
every = int(every)
tiny = runpy.run_path(f"{tests}/training/tiny_run.py")
own = runpy.run_path(f"{tests}/faults/test_long_runs.py")
from mmengine.dataset import DefaultSampler
from mae_bench.training import ResumableIterLoop, WarmupCosineLR, launch
from mae_bench.visualize.picture_page import encode_png
from mae_bench.files import write_atomic

mmengine.runner.loops.time.sleep = lambda seconds: None  # two seconds at the end of each epoch

class Watch(Hook):
    seen = []
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter % every == 0:
            picture = data_batch["inputs"][0].permute(1, 2, 0).numpy()
            write_atomic(encode_png(picture), Path(runner.work_dir, "drawn.png"))
        if runner.iter % 100 == 0:
            own["trim"]()
            buffers = runner.message_hub.log_scalars.values()
            history = sum(sum(map(len, b.data)) * 8 for b in buffers) / 1024
            self.seen.append((runner.iter, *own["usage"](), history, len(gc.get_objects())))

config = tiny["tiny_config"](work, images, model="classifier", average=False)
config.train_cfg = dict(type=ResumableIterLoop, max_iters=int(steps), val_interval=every)
config.train_dataloader.sampler = dict(type=DefaultSampler, shuffle=True)
config.train_dataloader.batch_size = 2
config.param_scheduler = [dict(type=WarmupCosineLR, warmup=5, by_epoch=False)]
config.default_hooks.checkpoint.interval = every
config.custom_hooks = [Watch()]
launch.run(config)
Path(work, "seen.json").write_text(json.dumps(Watch.seen))
"""


def test_ten_thousand_steps(tmp_path, tally):
    images = tmp_path / "images"
    for number in range(22):
        path = images / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    command = [sys.executable, "-c", RUN, TESTS, images, tmp_path / "work", STEPS, EVERY]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads((tmp_path / "work/seen.json").read_text())
    memory, files, history, objects = growth(seen)
    tally["steps"] = STEPS
    tally["bytes of memory by step"] = round(1024 * memory)
    tally["of them MMEngine's history of the scalars"] = round(1024 * history)
    tally["open files by 1000 steps"] = round(1000 * files)
    tally["Python objects by 1000 steps"] = round(1000 * objects)
    assert memory - history < 0.1 and files < 1e-4 and objects < 0.02
    assert len(list((tmp_path / "work").glob("*.pth"))) <= 3


# A record without the import of anything: what is long here is the suite.
JOB = """
import json, os, sys
record = json.loads(open("record.json").read())
record |= dict(task=sys.argv[2], initialisation=sys.argv[3], seed=int(sys.argv[4]))
open(sys.argv[1] + "/part", "w").write(json.dumps(record))
os.replace(sys.argv[1] + "/part", sys.argv[1] + "/record.json")  # whole, as records are
"""


def test_a_suite_of_500_jobs(tmp_path, monkeypatch, tally):
    from mae_bench.results.record import Record, write_record
    from mae_bench.suite.job import Job

    monkeypatch.chdir(tmp_path)
    given = dict(task="", initialisation="", metrics={}, config_file="a.py", config_sha256="")
    given |= dict(overrides={}, seed=0, checkpoint=None, run_card={}, data_counts={}, versions={})
    given |= dict(git_revision=None, device="cpu", duration_seconds=1.0, peak_memory_mib=None)
    given |= dict.fromkeys(("started", "finished"), "2024-01-01T00:00:00+00:00")
    record = json.loads(write_record(Record(**given), "record.json").read_text())
    del record["digest"]
    Path("record.json").write_text(json.dumps(record))
    Path("job.py").write_text(JOB)
    jobs = []
    for number in range(JOBS):
        name = f"seed{number}/MAE/task"
        folder = Path("work", name)
        command = ("job.py", str(folder), "task", "MAE", str(number))
        jobs.append(Job(name, "task", "MAE", number, folder, command, None, None, (), 1, ""))
    Path("jobs.json").write_text(json.dumps([job.to_json() for job in jobs]))
    two_runners = runpy.run_path(str(TESTS / "suite/test_two_runners.py"))
    telling = "print(line, file=sys.stderr, flush=True)"
    load = f"import runpy; own = runpy.run_path({__file__!r})\n"
    Path("runner.py").write_text(load + two_runners["RUNNER"].replace(telling, "own['trim']()"))
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    runner = subprocess.Popen([sys.executable, "runner.py", "2"], stdout=subprocess.PIPE, text=True)
    seen: list[tuple[int, int, int]] = []

    def look() -> None:
        while runner.poll() is None:
            done = len(list(Path("work").glob("*/MAE/task/record.json")))
            if done and (not seen or done > seen[-1][0]):
                seen.append((done, *usage(runner.pid)))
            time.sleep(0.5)

    looking = threading.Thread(target=look)
    looking.start()
    output, _ = runner.communicate(timeout=900)
    looking.join()
    assert output.strip() == f"{JOBS} [] []"
    memory, files = growth(seen)
    tally["jobs"] = JOBS
    tally["bytes of memory by job"] = round(1024 * memory)
    tally["open files by 100 jobs"] = round(100 * files)
    assert memory < 2 and files < 0.01
