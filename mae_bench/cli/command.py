"""What all commands share: one clear line for a mistake, a traceback only where it helps."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from ..files import DISK_FULL_ERRORS, EXIT_DISK_FULL, DiskFull
from ..text import printable
from .output import code_after, forgiving_output
from .quiet import hide_host_library_noise

# On import, not in run_command: a worker process started with "spawn" imports the command's module
# and with it this one, but never runs the command.
hide_host_library_noise()

TRACEBACK_VARIABLE = "MAE_BENCH_TRACEBACK"
WORKER_TRACEBACK = "Original Traceback (most recent call last):"


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command and exit with its code.

    An exception ends in one line on standard error and exit code 2, or 75 where only a full disk
    was in the way; the traceback is shown only where the environment variable
    ``MAE_BENCH_TRACEBACK`` is set. Ctrl-C ends with code 130.
    """
    with forgiving_output() as output:
        sys.exit(code_after(output, _run(main)))


def _run(main: Callable[[], int | None]) -> int:
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"error: {printable(_one_line(error))}", file=sys.stderr)
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRORS:
            return EXIT_DISK_FULL
        if isinstance(error, DiskFull):
            return EXIT_DISK_FULL
        if not isinstance(error, (ValueError, FileNotFoundError)):
            # Not one of the mistakes we look for: somebody will want to see where it came from.
            print(f"  where: {_origin(error)}; {TRACEBACK_VARIABLE}=1 shows all", file=sys.stderr)
        return 2


def _one_line(error: BaseException) -> str:
    text = str(error)
    if WORKER_TRACEBACK in text:
        # An error of a data loader's worker process: the last line is the message, after the name
        # of the class, which has the module's before it where the class is one of ours.
        line = text.rstrip().splitlines()[-1]
        text = line.partition(f"{type(error).__name__}: ")[2] or line
    text = " ".join(text.split()) or type(error).__name__
    return text if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {text}"


def _origin(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
