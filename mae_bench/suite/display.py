"""How far a suite is, for a person: bars on a terminal, plain lines everywhere else."""

import time
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..files import read_json
from ..run_folder import LOG_NAME, PROGRESS_NAME
from ..text import PlainConsole, printable
from .cost import costs
from .order import time_left
from .state import Running, State

PLAIN_SECONDS = 30.0
# Longer than a batch may take (``loader_workers.py``), or the evaluation of a validation.
STALL_SECONDS = 1200.0
BAR_SECONDS = 1.0


class ProgressReader:
    """Progress of running jobs, and from it the time that a suite still takes."""

    def __init__(self) -> None:
        # job and its start -> (clock, step) where it was first seen
        self._first: dict[tuple[str, float], tuple[float, int]] = {}

    def read(self, running: Running) -> dict[str, float]:
        """``step``, ``total`` and maybe ``loss`` of a running job; empty before its first write."""
        try:
            found = read_json(running.job.folder / PROGRESS_NAME)
            progress: dict[str, float] = {
                key: float(found[key]) for key in ("step", "total", "loss") if key in found
            }
            step = progress["step"] / progress["total"]
        except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError):
            return {}  # not written yet, or damaged
        if not 0 <= step <= 1:
            return {}
        key = (running.job.name, running.started)
        self._first.setdefault(key, (time.monotonic(), int(progress["step"])))
        return progress

    def left(self, state: State) -> str:
        """``"about 12 min left"``, ``"at least"`` where the cost of a job is unknown."""
        known = costs(state)
        left: dict[str, float] = {}
        unknown = False
        for job in state.open():
            seconds = known[job.name].seconds
            if job.name in state.running:
                seconds = self._running_left(state.running[job.name], seconds)
            unknown = unknown or seconds is None
            left[job.name] = seconds or 0.0
        total = time_left(state.open(), left, set(state.running), state.slots)
        if unknown and not total:
            return "an unknown time"
        return f"{'at least' if unknown else 'about'} {duration(total)}"

    def _running_left(self, running: Running, expected: float | None) -> float | None:
        """A running job goes on at its own pace; before that shows, as long as expected."""
        now = time.monotonic()
        progress = self.read(running)
        if progress:
            first_time, first_step = self._first[running.job.name, running.started]
            if progress["step"] > first_step:
                pace = (now - first_time) / (progress["step"] - first_step)
                return pace * (progress["total"] - progress["step"])
        if expected is None:
            return None
        # by the clock on the wall, which may be set, or another machine's
        return min(expected, max(0.0, expected - (time.time() - running.started)))


class StallWatch:
    """Notices running jobs that say nothing for long, neither in their progress nor their log."""

    def __init__(self, seconds: float = STALL_SECONDS) -> None:
        self.seconds = seconds
        # job and its start -> what its files were like, and since when, by our clock
        self._seen: dict[tuple[str, float], tuple[tuple[int, ...], float]] = {}
        self._told: set[tuple[str, float]] = set()

    def news(self, state: State) -> list[str]:
        """A line for each job that has just been found to stand still."""
        now, lines = time.monotonic(), []
        for name, running in state.running.items():
            key = (name, running.started)
            files = (running.job.folder / PROGRESS_NAME, running.job.folder / LOG_NAME)
            looks = tuple(_changed(path) for path in files)
            before, since = self._seen.get(key, (None, now))
            if looks != before:
                self._seen[key] = (looks, now)
                self._told.discard(key)
            elif now - since >= self.seconds and key not in self._told:
                self._told.add(key)
                lines.append(
                    f"STILL    {name}: no progress for {duration(now - since)} ({running.where}); "
                    f"see {files[1]}, and end its process if it hangs: the same command "
                    "then tries again"
                )
        return lines


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def duration(seconds: float) -> str:
    """``"1 h 05 min"``, ``"12 min"`` or ``"40 s"``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _counts(state: State) -> str:
    text = f"{len(state.done)}/{len(state.jobs)} done, {len(state.running)} running"
    for what, names in (
        ("queued", state.queued - state.running.keys()),
        ("failed", state.failed),
        ("blocked", state.blocked),
    ):
        if names:
            text += f", {len(names)} {what}"
    return text


def _place(progress: dict[str, float]) -> str:
    if not progress:
        return "starting"
    loss = f", loss {progress['loss']:.4g}" if "loss" in progress else ""
    return f"{progress['step']:.0f}/{progress['total']:.0f}{loss}"


class PlainDisplay:
    """One line per event, and one on how far everything is every `seconds`."""

    def __init__(self, console: PlainConsole, seconds: float = PLAIN_SECONDS) -> None:
        self._console = console
        self._seconds = seconds
        self._last = time.monotonic()
        self._reader = ProgressReader()

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def event(self, line: str) -> None:
        """Print the line."""
        self._console.print(line, soft_wrap=True)

    def refresh(self, state: State) -> None:
        """Print where everything stands, if it is time."""
        if time.monotonic() - self._last < self._seconds:
            return
        self._last = time.monotonic()
        places = [
            f"{name} {_place(self._reader.read(running))}"
            for name, running in state.running.items()
        ]
        self.event("; ".join([_counts(state), f"{self._reader.left(state)} left", *places]))


class BarDisplay:
    """An overall bar and one bar for each running job."""

    def __init__(self, console: PlainConsole) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}
        self._all = self._progress.add_task("all jobs", note="")
        self._last = 0.0
        self._reader = ProgressReader()

    def __enter__(self) -> "BarDisplay":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def event(self, line: str) -> None:
        """Print the line above the bars."""
        self._progress.console.print(line)

    def refresh(self, state: State) -> None:
        """Bring the bars up to date, at most once a second."""
        if time.monotonic() - self._last < BAR_SECONDS:
            return
        self._last = time.monotonic()
        for name in self._bars.keys() - state.running.keys():
            self._progress.remove_task(self._bars.pop(name))
        expected = {name: cost.seconds for name, cost in costs(state).items()}
        inside = 0.0
        for name, running in state.running.items():
            progress = self._reader.read(running)
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(printable(name), total=None, note="")
            self._progress.update(
                self._bars[name],
                total=progress.get("total"),
                completed=progress.get("step", 0),
                note=_place(progress),
            )
            if progress:
                inside += (expected[name] or 0.0) * progress["step"] / progress["total"]
        self._progress.update(
            self._all,
            total=sum(seconds or 0.0 for seconds in expected.values()),
            completed=sum(state.seconds[name] for name in state.done) + inside,
            note=f"{_counts(state)}, {self._reader.left(state)} left",
        )
