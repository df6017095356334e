"""Jobs run in order, fail alone, are resumed, and are never overwritten."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mae_bench.cli import run_suite
from mae_bench.results.record import read_record
from mae_bench.results.table import Resources
from mae_bench.results.table_file import load_suite
from mae_bench.suite import executor
from mae_bench.suite.order import path_lengths, time_left
from mae_bench.suite.plan import Job, plan_jobs
from mae_bench.suite.state import State, current_state

RUN_SUITE = Path(__file__).resolve().parents[2] / "tools" / "run_suite.py"


class Lines:
    """A display that keeps the events."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, line: str) -> None:
        self.lines.append(line)

    def refresh(self, state: State) -> None:
        pass


def run(workplace, slots=2, retry_failed=False):
    jobs = plan_jobs(load_suite(workplace.write()), workplace.work_dir).jobs
    state = current_state(jobs, slots, retry_failed)
    executor.run_jobs(state, executor.LocalExecutor(slots, []), Lines())
    return state


def command_line(workplace, *options):
    return [sys.executable, str(RUN_SUITE), workplace.write(), "--work-dir", "work", *options]


@pytest.mark.parametrize("slots", [1, 2])
def test_every_job_runs_once_after_what_it_needs(workplace, slots):
    state = run(workplace, slots)
    assert len(state.done) == 7
    assert not state.failed
    assert not state.blocked
    events = workplace.events()
    assert len(events) == 14
    for name, needs in [
        ("MAE/finetune", "MAE/pretrain"),
        ("MAE/linear", "MAE/pretrain"),
        ("MAE/robustness", "MAE/finetune"),
        ("random/robustness", "random/finetune"),
    ]:
        assert events.index(f"end seed0/{needs}") < events.index(f"start seed0/{name}")
    if slots == 1:  # the longest chain is the pre-training's
        assert events[0] == "start seed0/MAE/pretrain"
    threads = {
        read_record(path).run_card["threads"] for path in workplace.work_dir.rglob("record.json")
    }
    assert threads == {str(max(1, len(os.sched_getaffinity(0)) // slots))}

    assert run(workplace).done == state.done
    assert workplace.events() == []


def test_failed_job_is_noted_and_only_its_dependents_are_blocked(workplace):
    workplace.behave({"seed0/MAE/finetune": "fail", "seed0/random/linear": "no record"})
    state = run(workplace)
    assert set(state.failed) == {"seed0/MAE/finetune", "seed0/random/linear"}
    assert state.blocked == {"seed0/MAE/robustness": "seed0/MAE/finetune"}
    assert len(state.done) == 4
    failure = json.loads(Path("work/seed0/MAE/finetune/failed.json").read_text())
    assert failure["reason"] == "exit code 1"
    assert failure["log_tail"] == [
        "ordinary line",
        "RuntimeError: out of luck",
        "  where: somewhere",
    ]
    assert state.failed["seed0/MAE/finetune"] == "exit code 1: RuntimeError: out of luck"
    assert "record.json" in state.failed["seed0/random/linear"]

    workplace.events()
    workplace.behave({"seed0/random/linear": "fail"})
    again = run(workplace)
    assert again.failed == state.failed
    assert again.blocked == state.blocked
    assert workplace.events() == []
    assert set(run(workplace, retry_failed=True).failed) == {"seed0/random/linear"}

    workplace.behave({})
    state = run(workplace, retry_failed=True)
    assert not state.failed
    started = {line for line in workplace.events() if line.startswith("start")}
    rerun = {"MAE/finetune", "MAE/robustness", "random/linear"}
    assert started == {f"start seed0/{name}" for name in rerun}
    assert not list(workplace.work_dir.rglob("failed.json"))


def test_failed_pretraining_blocks_the_whole_chain(workplace):
    workplace.behave({"seed0/MAE/pretrain": "fail"})
    state = run(workplace)
    assert set(state.blocked) == {f"seed0/MAE/{x}" for x in ("finetune", "linear", "robustness")}


@pytest.mark.parametrize("finished", [True, False])
def test_changed_config_is_refused_and_nothing_overwritten(workplace, finished):
    workplace.only("linear")
    if not finished:
        workplace.behave({"seed0/random/linear": "fail"})
    run(workplace)
    Path("lin.py").write_text("lr = 5.0\n")
    before = {path: path.read_bytes() for path in Path("work").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"work/seed0/random/linear: .*changed.*--work-dir"):
        run(workplace)
    assert before == {path: path.read_bytes() for path in Path("work").rglob("*") if path.is_file()}


def test_config_edited_between_plan_and_start_fails_the_job(workplace):
    workplace.only("linear")
    jobs = plan_jobs(load_suite(workplace.write()), workplace.work_dir).jobs
    state = current_state(jobs, 1)
    Path("lin.py").write_text("lr = 5.0\n")
    executor.run_jobs(state, executor.LocalExecutor(1, []), Lines())
    assert set(state.failed) == {"seed0/random/linear", "seed0/MAE/linear"}
    assert "config_sha256" in state.failed["seed0/MAE/linear"]


def test_folder_of_something_else_is_refused(workplace):
    workplace.only("linear")
    folder = Path("work/seed0/random/linear")
    folder.mkdir(parents=True)
    run(workplace)  # an empty folder is no one's
    (folder / "job.json").unlink()
    with pytest.raises(ValueError, match="seed0/random/linear: holds files of no suite's job"):
        run(workplace)


def test_result_of_a_replaced_checkpoint_is_refused(workplace):
    workplace.only("linear")
    run(workplace)
    Path("work/seed0/MAE/pretrain/checkpoint.safetensors").write_text("other weights")
    with pytest.raises(ValueError, match="was not made from .*pretrain/checkpoint.safetensors"):
        run(workplace)
    Path("work/seed0/MAE/pretrain/checkpoint.safetensors").unlink()
    assert len(run(workplace).done) == 3  # removed to save space
    Path("work/seed0/MAE/pretrain/record.json").unlink()
    message = "is done, but seed0/MAE/pretrain, which comes before it, is not"
    with pytest.raises(ValueError, match=message):
        run(workplace)


def test_ctrl_c_stops_the_children_and_the_next_run_goes_on(workplace):
    workplace.behave({"seed0/MAE/finetune": "hang"})
    process = subprocess.Popen(
        command_line(workplace),
        stdout=subprocess.PIPE,
        text=True,
        # A job that a shell runs in the background, as CI may, starts with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not Path("hanging.pid").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "stopped" in output
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("hanging.pid").read_text()), 0)

    finished = {line[4:] for line in workplace.events() if line.startswith("end ")}
    assert "seed0/MAE/pretrain" in finished
    workplace.behave({})
    result = subprocess.run(command_line(workplace), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    again = {line[6:] for line in workplace.events() if line.startswith("start ")}
    assert "seed0/MAE/finetune" in again
    assert not again & finished
    assert "report: work/report.html" in result.stdout
    assert Path("work/report.html").is_file()
    assert "| MAE | " in Path("work/table.md").read_text()


def test_command_lists_failures_and_ends_with_1(workplace):
    workplace.behave({"seed0/MAE/linear": "fail", "seed0/random/finetune": "fail"})
    result = subprocess.run(command_line(workplace), capture_output=True, text=True)
    assert result.returncode == 1
    assert "failed: seed0/MAE/linear: exit code 1: RuntimeError: out of luck" in result.stderr
    assert "blocked: seed0/random/robustness: it needs seed0/random/finetune" in result.stderr
    assert "FAILED   seed0/MAE/linear" in result.stdout


def test_dry_run_writes_nothing_and_estimates_from_the_suite_and_then_from_records(workplace):
    command = command_line(workplace, "--dry-run", "--jobs", "2")
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["to", "do", "~5", "min", "seed0/MAE/pretrain"] in lines
    robustness = ["to", "do", "unknown", "seed0/MAE/robustness", "needs", "seed0/MAE/finetune"]
    assert robustness in lines
    assert "7 of 7 jobs to do, 2 at once: at least 5 min" in result.stdout
    assert not Path("work").exists()

    # each record says that its run took 1 s
    workplace.behave({"seed0/MAE/linear": "fail", "seed0/MAE/finetune": "fail"})
    run(workplace)
    workplace.suite["seeds"] = [0, 1]
    command = command_line(workplace, "--dry-run", "--jobs", "2", "--retry-failed")
    result = subprocess.run(command, capture_output=True, text=True)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["done", "1", "s", "seed0/MAE/pretrain"] in lines
    assert ["to", "do", "1", "s", "seed0/MAE/linear", "needs", "seed0/MAE/pretrain"] in lines
    assert ["to", "do", "1", "s", "seed1/MAE/pretrain"] in lines
    # of 10 jobs two wait for seed0/MAE/finetune and seed1's pre-training, by hand: 5 s
    assert "10 of 14 jobs to do, 2 at once: about 5 s" in result.stdout


def test_cores_and_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(executor, "cpu_cores", lambda: 7)
    local = executor.LocalExecutor(3, ["4", "6"])
    environments = [local.environment([gpu]) for gpu in ("4", "6", "4")]
    assert [one["OMP_NUM_THREADS"] for one in environments] == ["2", "2", "2"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments] == ["4", "6", "4"]
    assert executor.LocalExecutor(20, []).environment([""])["OMP_NUM_THREADS"] == "1"


def test_gpus_are_packed_with_large_and_small_jobs():
    local = executor.LocalExecutor(4, ["0", "1", "2", "3"])

    def start(name: str, gpus: int) -> list[str] | None:
        job = replace(_job(name, None, 1), resources=Resources(gpus=gpus))
        places = local.places(job)
        if places is not None:
            local._processes[name] = (places, None)
        return places

    assert start("two", 2) == ["0", "1"]
    assert start("one", 1) == ["2"]
    assert start("four", 4) is None
    assert start("more", 1) == ["3"]
    assert start("last", 1) is None
    for name in ("two", "one", "more"):
        del local._processes[name]
    assert start("eight", 8) == ["0", "1", "2", "3"]  # all that there are
    assert start("one", 1) is None


def test_jobs_of_two_processes(workplace):
    workplace.only("finetune", "linear")
    workplace.suite["resources"] = {"gpus": 2}
    workplace.suite["tasks"]["linear"]["resources"] = {"gpus": 1, "amp": "bfloat16"}
    workplace.behave({"seed0/MAE/finetune": "rank fails"})
    state = run(workplace)
    assert state.failed == {"seed0/MAE/finetune": "exit code 1: made to fail"}
    second = sorted(line for line in workplace.events() if line.startswith("rank"))
    jobs = ("MAE/finetune", "MAE/pretrain", "random/finetune")
    assert second == [f"rank 1 of 2, pytorch, None: seed0/{job}" for job in jobs]
    # another number of processes is no other job; another precision is
    workplace.behave({})
    workplace.suite["resources"] = {"gpus": 1}
    assert not run(workplace, retry_failed=True).failed
    assert [line for line in workplace.events() if "start" in line] == ["start seed0/MAE/finetune"]
    workplace.suite["resources"] = {"amp": "float16"}
    with pytest.raises(ValueError, match="command or checkpoint has changed"):
        run(workplace)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resources", "gpu=2"], "--resources gpu: is unknown; there are gpus, nodes, amp"),
        (["--resources", "gpus=two"], "--resources gpus: must be a positive integer"),
        (["--resources", "amp=half"], "--resources amp: must be one of None, bfloat16"),
        (["--executor", "slurm", "--slurm", "gpus_per_node=8"], "give --resources gpus=N"),
    ],
)
def test_wrong_resources(workplace, monkeypatch, options, message):
    monkeypatch.setattr(sys, "argv", command_line(workplace, *options)[1:])
    with pytest.raises(ValueError, match=message):
        run_suite.main()
    assert not Path("work").exists()


def _job(name, needs, minutes):
    needs = (needs,) if needs else ()
    return Job(name, "", "", 0, Path(name), (), "", None, needs, minutes, "")


def test_schedule_by_hand():
    jobs = [_job("a", None, 4), _job("b", "a", 2), _job("c", "b", 1), _job("d", None, 3)]
    assert path_lengths(jobs) == {"a": 7, "b": 3, "c": 1, "d": 3}
    seconds = {job.name: job.minutes for job in jobs}
    assert time_left(jobs, seconds, set(), 1) == 10
    assert time_left(jobs, seconds, set(), 2) == 7
    # a is done; b and d run, b with 1 and d with 3 left: c starts at 1
    assert time_left(jobs[1:], {"b": 1, "c": 1, "d": 3}, {"b", "d"}, 2) == 3
    # one at a time, d has started and goes first although c's chain is as long
    assert time_left(jobs[2:], {"c": 1, "d": 0.5}, {"d"}, 1) == 1.5


def test_a_process_that_does_not_start_fails_alone(workplace, monkeypatch):
    jobs = plan_jobs(load_suite(workplace.write()), workplace.work_dir).jobs
    state = current_state(jobs, 2)
    local, lines = executor.LocalExecutor(2, []), Lines()
    broken = iter(["no fork", "dies early", None])
    popen = subprocess.Popen

    def start(command, **options):
        how = next(broken, None)
        if how == "no fork":
            raise BlockingIOError(11, "Resource temporarily unavailable")
        if how == "dies early":
            process = popen([sys.executable, "-c", ""], **options)
            process.wait()
            return process
        return popen(command, **options)

    monkeypatch.setattr(executor.subprocess, "Popen", start)
    executor.run_jobs(state, local, lines)
    reasons = sorted(state.failed.values())
    assert reasons == [
        f"its process did not start ({why}); the same command tries again"
        for why in ("Broken pipe", "Resource temporarily unavailable")
    ]
    assert state.done and len(state.done) + len(state.blocked) + 2 == len(jobs)
    # nothing was kept against them
    again = run(workplace)
    assert not again.failed and len(again.done) == len(jobs)


def test_a_full_disk_is_no_failure_of_the_job(workplace):
    jobs = plan_jobs(load_suite(workplace.write()), workplace.work_dir).jobs
    name = jobs[0].name
    workplace.behave({name: "disk full"})
    state = run(workplace)
    assert state.failed[name] == "the disk is full: free some space; the same command tries again"
    assert state.no_room == {name}
    assert not (workplace.work_dir / name / "failed.json").exists()
    workplace.behave({})
    assert not run(workplace).failed


@pytest.mark.faults
@pytest.mark.slow
def test_the_command_says_that_only_the_disk_was_in_the_way(workplace):
    name = plan_jobs(load_suite(workplace.write()), workplace.work_dir).jobs[0].name
    workplace.behave({name: "disk full"})
    ended = subprocess.run(command_line(workplace), capture_output=True, text=True, check=False)
    assert ended.returncode == 75
    assert f"stopped: {name}: the disk is full" in ended.stderr
    assert "retry" not in ended.stderr and "FAILED" not in ended.stdout


def test_a_damaged_note_of_a_failure_beside_a_record_says_nothing(workplace):
    state = run(workplace)
    job = state.jobs[0]
    assert job.name in state.done
    (job.folder / "failed.json").write_text("")
    assert job.name in current_state(state.jobs, 1).done


@pytest.mark.parametrize(
    "content", ["", "null", "[1]", '{"reason": 5}', '{"log_tail": 1}', "\\xff"]
)
def test_a_damaged_note_of_a_failure_still_says_that_the_job_failed(workplace, content):
    jobs = plan_jobs(load_suite(workplace.write()), workplace.work_dir).jobs
    first = next(job for job in jobs if not job.needs)
    first.claim()
    (first.folder / "failed.json").write_text(content)
    state = current_state(jobs, 1)
    assert list(state.failed) == [first.name] and state.failed[first.name]
    assert first.name not in current_state(jobs, 1, retry_failed=True).failed
