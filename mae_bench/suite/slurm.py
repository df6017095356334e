"""Jobs on a Slurm cluster, submitted through submitit: arrays, dependencies, requeueing.

Everything that is open is submitted at once, jobs with the same needs as one array, so the cluster
goes on when the runner ends. The id of a submission stands in ``slurm.json`` in the job's folder;
the next runner finds it and does not submit again what is still in the queue.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import read_json, write_json_atomic
from ..processes import slurm_job
from ..results.table import Resources
from ..run_folder import SLURM_LOGS_NAME, SUBMISSION_NAME
from .job import Job
from .run_job import worker_for
from .state import State
from .worker import DISK_FULL, FAILED, STOPPED

QUEUE_SECONDS = 10.0  # between two questions to the scheduler, which has other users
MAX_TIMEOUTS = 100  # a job that reaches its time limit is requeued and goes on this often


class SlurmTask:
    """What a Slurm job calls; submitit asks `checkpoint` when the job is preempted or timed out.

    Args:
        dead: number of an attempt at the job that is known to be dead, see `attempt.take`.
        retry: number of a failed attempt, after which the job is tried once more.
    """

    def __init__(self, job: Job, dead: int | None, retry: int | None) -> None:
        self.job = job
        self.dead = dead
        self.retry = retry

    def __call__(self) -> str:
        """Run the job; its outcome.

        Raises:
            RuntimeError: the job failed: so does the Slurm job, and what depends on it is dropped.
        """
        gpus, nodes = self.job.resources.gpus or 1, self.job.resources.nodes or 1
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        if nodes == 1:  # one task, for all of its processes
            cores = max(1, cores // gpus)
        os.environ["OMP_NUM_THREADS"] = str(cores)
        worker = worker_for(self.job, dead=self.dead, retry=self.retry, processes=gpus, nodes=nodes)
        # Sent when the job is cancelled, requeued or preempted; submitit's own handler ignores it.
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        outcome = worker.run()
        while outcome == STOPPED:
            # The end is Slurm's to make. A job that ends by itself within the grace time of a
            # preemption counts as over and is not requeued.
            time.sleep(1)
        if outcome in (FAILED, DISK_FULL):
            raise RuntimeError(f"{self.job.name}: {outcome}; see its log")
        if _submission(self.job) == slurm_job():
            # done, or given back because another runner came first
            (self.job.folder / SUBMISSION_NAME).unlink()
        return outcome

    def checkpoint(self) -> Any:
        """What to run when Slurm has requeued the job: the same, which then goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(SlurmTask(self.job, self.dead, self.retry))


class SlurmExecutor:
    """Submits jobs and watches the queue.

    Args:
        work_dir: of the suite, on a file system that all nodes share.
        parameters: of submitit's executor: ``time`` (minutes), ``partition``, ``cpus_per_task``,
            ``mem``, ``array_parallelism`` and so on. They take the place of what a job's resources
            ask for.

    Raises:
        ValueError: submitit or Slurm is not installed, or a parameter is unknown or missing.
    """

    def __init__(self, work_dir: Path, parameters: dict[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            fix = "pip install 'mae-bench[slurm]'"
            raise ValueError(f"--executor slurm needs submitit: {fix}") from None
        self._folder = work_dir.absolute() / SLURM_LOGS_NAME
        self._submitit = submitit.SlurmExecutor
        if self._submitit.affinity() < 0:
            raise ValueError("--executor slurm: there is no srun here; is this a cluster?")
        known = self._submitit._valid_parameters()
        for key in parameters:
            if key not in known:
                raise ValueError(f"--slurm {key}: unknown; there are {', '.join(sorted(known))}")
        if "time" not in parameters:
            raise ValueError("--slurm time=MINUTES is missing; jobs that reach it are requeued")
        self._parameters = parameters
        self._ids: dict[str, str] = {}  # job name -> Slurm job id, of those in the queue
        self._gone: dict[str, str] = {}  # the same, of those that have just left it
        self._asked = float("-inf")

    def collect(self, state: State) -> bool:
        """Ask the scheduler which jobs are in the queue, now and then."""
        if time.monotonic() - self._asked < QUEUE_SECONDS:
            return False
        first = self._asked == float("-inf")
        self._asked = time.monotonic()
        queue = _queue()
        if queue is None:
            return False
        if first:
            self._ids = {job.name: found for job in state.open() if (found := _submission(job))}
        for job in state.waiting():
            # It left the queue before the last look, so its files have had time to be seen. One
            # whose needs are not done was dropped by Slurm, and is blocked or submitted again.
            slurm_id = self._gone.get(job.name)
            if slurm_id and _submission(job) == slurm_id and state.done.issuperset(job.needs):
                state.fail(
                    job,
                    f"Slurm job {slurm_id} ended without a result (cancelled?); the same command "
                    f"submits it again; its log is in {self._folder}",
                )
        self._gone = {name: one for name, one in self._ids.items() if one not in queue}
        self._ids = {name: one for name, one in self._ids.items() if one in queue}
        if first:
            self._gone = {}  # submitted by an earlier runner, and cancelled since
        open_jobs = {job.name for job in state.open()}
        state.queued = open_jobs & (self._ids.keys() | self._gone.keys())
        return True

    def start(self, state: State, order: Sequence[Job]) -> list[str]:
        """Submit all that needs nothing but what is done or in the queue."""
        submitted: list[str] = []
        if self._asked == float("-inf"):
            return submitted
        while groups := self._groups(state):
            for (dependencies, resources), jobs in groups.items():
                self._submit(jobs, dependencies, resources, state)
                for job in jobs:
                    submitted.append(f"submitted {job.name}, Slurm job {self._ids[job.name]}")
            state.queued |= self._ids.keys()
        return submitted

    def _groups(self, state: State) -> dict[tuple[tuple[str, ...], Resources], list[Job]]:
        """Jobs to submit, by the Slurm jobs that they have to wait for and what they are given."""
        groups: dict[tuple[tuple[str, ...], Resources], list[Job]] = {}
        for job in state.waiting():
            open_needs = [need for need in job.needs if need not in state.done]
            if job.name not in state.queued and self._ids.keys() >= set(open_needs):
                dependencies = tuple(self._ids[need] for need in open_needs)
                groups.setdefault((dependencies, job.resources), []).append(job)
        return groups

    def _submit(
        self, jobs: list[Job], dependencies: tuple[str, ...], resources: Resources, state: State
    ) -> None:
        executor = self._submitit(self._folder, max_num_timeout=MAX_TIMEOUTS)
        additional = {"requeue": True, "kill-on-invalid-dep": "yes"}
        parameters: dict[str, Any] = {"job_name": "mae_bench", "additional_parameters": additional}
        if dependencies:
            parameters["dependency"] = "afterok:" + ":".join(dependencies)
        if resources.gpus:
            parameters["gpus_per_node"] = resources.gpus
        if (resources.nodes or 1) > 1:
            # a task for each GPU, which the one that submitit starts on the first node starts
            parameters |= {"nodes": resources.nodes, "ntasks_per_node": resources.gpus or 1}
            parameters["srun_args"] = ["--overlap", "--nodes=1", "--ntasks=1"]
            parameters["srun_args"].append("--ntasks-per-node=1")
        if resources.cpus_per_gpu:
            processes = 1 if "nodes" in parameters else resources.gpus or 1  # of a task
            parameters["cpus_per_task"] = resources.cpus_per_gpu * processes
        executor.update_parameters(**{**parameters, **self._parameters})
        with executor.batch():
            calls = [
                SlurmTask(job, state.dead.get(job.name), state.retry.get(job.name)) for job in jobs
            ]
            handles = [executor.submit(call) for call in calls]
        for job, handle in zip(jobs, handles, strict=True):
            self._ids[job.name] = handle.job_id
            job.claim()
            write_json_atomic({"id": handle.job_id}, job.folder / SUBMISSION_NAME)

    def stop(self) -> None:
        """Nothing: the jobs stay in the queue."""


def _queue() -> set[str] | None:
    """Ids of the user's jobs in the queue, of each element of an array; None without an answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(answer.stdout.split()) if answer.returncode == 0 else None


def _submission(job: Job) -> str | None:
    """Id of the Slurm job that was submitted for a job, None if there is none or it is over."""
    try:
        return read_json(job.folder / SUBMISSION_NAME)["id"]
    except (FileNotFoundError, ValueError, KeyError):
        return None  # a damaged file: it is submitted again, and a second start finds it held
