"""Imported by every Python process of a test: another machine, clock and file system in front.

``FAULTS`` in the environment is JSON: ``machine``, the name of the machine; ``clock``, seconds by
which it is wrong; ``lease``, seconds after which the dead are given up; ``stale``, seconds for
which the file system shows the past, as NFS does, of folders that this process has not written to;
``lost``, the share of renames whose answer is lost, so that the call is repeated and fails.
"""

import importlib.abc
import importlib.util
import json
import os
import random
import sys
import time
from pathlib import Path


def disturb(faults: dict) -> None:
    """Patch what stands between the runner and the world."""
    glob, is_file, replace, utime = Path.glob, Path.is_file, Path.replace, os.utime
    seen: dict[tuple, tuple[float, object]] = {}

    def remembered(what: str, folder: Path, rest: str, look):
        key = (str(folder.absolute()), what, rest)
        now = time.monotonic()
        if key not in seen or now - seen[key][0] >= faults["stale"]:
            seen[key] = (now, look())
        return seen[key][1]

    def old_glob(path, pattern, **options):
        return iter(remembered("glob", path, pattern, lambda: list(glob(path, pattern, **options))))

    def old_is_file(path):
        # only that there is nothing is remembered
        return remembered("is_file", path.parent, path.name, lambda: is_file(path)) or False

    def losing_replace(path, target):
        result = replace(path, target)
        folder = str(Path(target).parent.absolute())
        for key in [key for key in seen if key[0] == folder]:
            del seen[key]
        if random.random() < faults["lost"]:
            raise FileNotFoundError(2, "the answer was lost", str(path))
        return result

    def wrong_utime(path, times=None, **options):
        now = time.time() + faults["clock"]
        return utime(path, times or (now, now), **options)

    Path.glob, Path.is_file, Path.replace = old_glob, old_is_file, losing_replace
    os.utime = wrong_utime


class Patch(importlib.abc.MetaPathFinder):
    """Change ``mae_bench.attempt`` and ``mae_bench.suite.worker`` once they are imported."""

    def find_spec(self, name, path, target=None):
        if name not in ("mae_bench.attempt", "mae_bench.suite.worker"):
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.HEARTBEAT_SECONDS = FAULTS["lease"] / 8
            if name == "mae_bench.attempt":
                module.machine_id = lambda: FAULTS["machine"]
                module.Watch.__init__.__defaults__ = (
                    FAULTS["lease"],
                    *module.Watch.__init__.__defaults__[1:],
                )

        spec.loader.exec_module = exec_module
        return spec


if "FAULTS" in os.environ:
    FAULTS = {"stale": 0.0, "lost": 0.0, "clock": 0.0, **json.loads(os.environ["FAULTS"])}
    disturb(FAULTS)
    sys.meta_path.insert(0, Patch())
