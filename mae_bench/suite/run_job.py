"""What a process of a job starts: a worker of the kind that the job needs.

``main`` reads ``{"job": ..., "dead": ..., "retry": ..., "parent": ..., "processes": ...}`` as JSON
from standard input; a Slurm job makes its worker itself, on the first of its nodes.
"""

import json
import signal
import sys
from typing import Any

from ..files import DiskFull
from .job import Job
from .worker import DISK_FULL, EXIT_CODES, Worker


def worker_for(job: Job, **options: Any) -> Worker:
    """The worker of a job; `options` are those of :class:`Worker`."""
    if job.search is None:
        return Worker(job, **options)
    from .search_worker import SearchWorker

    return SearchWorker(job, **options)


def main() -> int:
    """Run the job on standard input; its outcome as an exit code."""
    request = json.load(sys.stdin)
    job = Job.from_json(request.pop("job"))
    worker = worker_for(job, **request)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        return EXIT_CODES[worker.run()]
    except DiskFull as error:
        print(f"{worker.job.name}: {error}", file=sys.stderr)
        return EXIT_CODES[DISK_FULL]
    except (ValueError, OSError) as error:
        print(f"{worker.job.name}: {error}", file=sys.stderr)
        return 2
