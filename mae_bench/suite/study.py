"""A search by Optuna: what is tried next, what is stopped, what of it goes on.

The study is a journal beside the folders of its trials, on the file system that all runners share;
everything is decided under a lock, so any number of them work on one. Optuna's samplers propose.
Its pruner stops a trial for good, so successive halving is done here as ASHA has it: a trial stops
where it is not among the best, and goes on from its training state once it is. In the study the
part that goes on is a trial of its own, with the same folder.

Source of the rule: Li et al., A System for Massively Parallel Hyperparameter Tuning, Algorithm 2.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..config.overrides import as_options
from ..files import read_json
from ..results.table import Search
from ..run_folder import ATTEMPTS_NAME

FOLDER, OWNER, PROCESSES = "folder", "owner", "processes"  # attributes of a trial
GRACE_SECONDS = 120  # after which the lock of a process that died is taken away


@dataclass(frozen=True)
class Trial:
    """What a runner is to train.

    Attributes:
        number: in the study.
        name: folder below the work dir, the same for all parts of a trial.
        options: values of the config's keys, as on a command line.
    """

    number: int
    name: str
    options: dict[str, str]


class Study:
    """The trials of a search.

    Args:
        work_dir: of the suite.
        search: what is searched; its ``name`` is the job that the best trial becomes.
        direction: of the metric, ``"max"`` or ``"min"``.

    Raises:
        ValueError: Optuna is not installed.
    """

    def __init__(self, work_dir: Path, search: Search, direction: str) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        except ImportError:
            fix = "pip install 'mae-bench[search]'"
            raise ValueError(f"{search.name}: a search needs Optuna: {fix}") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._states = optuna, optuna.trial.TrialState
        self.work_dir, self.search = work_dir, search
        self._sign = -1.0 if direction == "min" else 1.0
        journal = str(work_dir / f"{search.name},study.log")
        Path(journal).parent.mkdir(parents=True, exist_ok=True)
        self._storage = optuna.storages.JournalStorage(
            JournalFileBackend(journal, JournalFileOpenLock(f"{journal}.journal", GRACE_SECONDS))
        )
        self._lock = JournalFileOpenLock(journal, GRACE_SECONDS)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=search.name,
            direction="minimize" if direction == "min" else "maximize",
            load_if_exists=True,
        )

    def next(self, owner: str, processes: int) -> Trial | None:
        """What `owner` is to train: what it was interrupted at, what goes on, or something new.

        None where the budget is spent, or the rest is up to others.
        """
        with self._locked():
            trials = self._trials()
            own = [t for t in trials if self._running(t) and t.user_attrs[OWNER] == owner]
            if own:
                return self._proposed(own[0].number)
            spent = self._spent(trials)
            stopped = None if spent else self._promotable(trials)
            if stopped is not None:
                return self._go_on(stopped, owner, processes)
            folders = {trial.user_attrs[FOLDER] for trial in trials}
            if not spent and len(folders) < (self.search.trials or math.inf):
                name = f"{self.search.name},trial{len(folders)}"
                return self._add(name, owner, processes)
            over = any(self._running(t) or t.state == self._states.COMPLETE for t in trials)
            if not over and (stopped := self._furthest(trials)) is not None:
                return self._go_on(stopped, owner, processes)  # a search has a result
            return None

    def report(self, trial: Trial, curve: dict[float, float]) -> bool:
        """Note what a trial has validated; whether it stops here.

        Args:
            curve: step of the schedule -> value of the metric.
        """
        with self._locked():
            for step in self._unknown(trial, curve):
                before = self._rungs_of(self._trials()[trial.number])
                self._note(trial, curve, step)
                trials = self._trials()
                rungs = self._rungs_of(trials[trial.number])
                if rungs > before and trial.name not in self._best(rungs - 1, trials):
                    return True
            return False

    def stopped(self, trial: Trial) -> None:
        """Note that a trial has stopped where it is."""
        self._study.tell(trial.number, state=self._states.PRUNED)

    def finished(self, trial: Trial, value: float, curve: dict[float, float]) -> None:
        """Note the value of a trial at its end; one that is not finite has none."""
        for step in self._unknown(trial, curve):
            self._note(trial, curve, step)
        if math.isfinite(value):
            self._study.tell(trial.number, value)
        else:
            self._study.tell(trial.number, state=self._states.FAIL)

    def best(self) -> tuple[str, dict[str, str]]:
        """Name and options of the best trial that was trained to its end.

        Raises:
            ValueError: there is none.
        """
        trials = [t for t in self._trials() if t.state == self._states.COMPLETE]
        if not trials:
            raise ValueError(f"{self.search.name}: no trial has a finite '{self.search.select}'")
        best = max(trials, key=lambda trial: self._sign * trial.value)
        return best.user_attrs[FOLDER], self._options(best)

    def values(self) -> dict[str, float]:
        """Value at the end of each trial that came there, by name."""
        done = [t for t in self._trials() if t.state == self._states.COMPLETE]
        return {trial.user_attrs[FOLDER]: trial.value for trial in done}

    def cost(self) -> dict[str, float]:
        """``trials`` that were begun, and the ``gpu_hours`` that they took."""
        trials = self._trials()
        folders = {trial.user_attrs[FOLDER] for trial in trials}
        return {"trials": len(folders), "gpu_hours": round(self._hours(trials), 4)}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _unknown(self, trial: Trial, curve: dict[float, float]) -> list[int]:
        known = self._trials()[trial.number].intermediate_values
        return sorted({int(step) for step in curve} - known.keys())

    def _note(self, trial: Trial, curve: dict[float, float], step: int) -> None:
        handle = self._trials()[trial.number]
        self._storage.set_trial_intermediate_value(handle._trial_id, step, curve[step])

    def _trials(self) -> list[Any]:
        return self._study.get_trials(deepcopy=False)

    def _running(self, trial: Any) -> bool:
        return trial.state == self._states.RUNNING

    def _handle(self, number: int) -> Any:
        """Optuna's trial; its proposal follows from the search's seed and what is known so far."""
        text = f"{self.search.seed} {number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        samplers = self._optuna.samplers
        if self.search.sampler == "tpe":
            self._study.sampler = samplers.TPESampler(seed=seed, constant_liar=True)
        elif self.search.sampler == "gp":
            self._study.sampler = samplers.GPSampler(seed=seed, deterministic_objective=False)
        else:
            self._study.sampler = samplers.RandomSampler(seed=seed)
        trial = self._trials()[number]
        return self._optuna.trial.Trial(self._study, trial._trial_id)

    def _add(self, name: str, owner: str, processes: int, **of_before: Any) -> Trial:
        attributes = {FOLDER: name, OWNER: owner, PROCESSES: processes}
        template = self._optuna.trial.create_trial(
            state=self._states.RUNNING, user_attrs=attributes, **of_before
        )
        number = len(self._trials())
        study = self._storage.get_study_id_from_name(self.search.name)
        self._storage.create_new_trial(study, template)
        return self._proposed(number)

    def _go_on(self, stopped: Any, owner: str, processes: int) -> Trial:
        return self._add(
            stopped.user_attrs[FOLDER],
            owner,
            processes,
            params=stopped.params,
            distributions=stopped.distributions,
            intermediate_values=stopped.intermediate_values,
        )

    def _proposed(self, number: int) -> Trial:
        """A trial with its values, which are asked for once."""
        handle = self._handle(number)
        for key, values in self.search.space.items():
            if isinstance(values, list):
                handle.suggest_categorical(key, range(len(values)))
                continue
            low, high, log = values["low"], values["high"], values.get("log", False)
            whole = isinstance(low, int) and isinstance(high, int)
            (handle.suggest_int if whole else handle.suggest_float)(key, low, high, log=log)
        trial = self._trials()[number]
        return Trial(number, trial.user_attrs[FOLDER], self._options(trial))

    def _options(self, trial: Any) -> dict[str, str]:
        space = self.search.space
        return as_options(
            {
                key: values[trial.params[key]] if isinstance(values, list) else trial.params[key]
                for key, values in space.items()
            }
        )

    def _rungs_of(self, trial: Any) -> int:
        """How many rungs a trial has come to."""
        steps = trial.intermediate_values
        return sum(bool(steps) and max(steps) >= rung for rung in self.search.rungs)

    def _best(self, rung: int, trials: Sequence[Any]) -> list[str]:
        """Names of the trials that go on beyond a rung, by what has come there so far."""
        values: dict[str, float] = {}
        step = self.search.rungs[rung]
        for trial in trials:
            name, curve = trial.user_attrs[FOLDER], trial.intermediate_values
            if trial.state == self._states.FAIL:
                values[name] = -math.inf  # it has lost wherever the others are
            elif self._rungs_of(trial) > rung:
                values[name] = self._score(curve[min(s for s in curve if s >= step)])
        ranked = sorted(values, key=lambda name: -values[name])
        return ranked[: len(ranked) // self.search.reduction_factor]

    def _score(self, value: float) -> float:
        """A value by which trials are ranked, the larger the better; one that is none is last."""
        return self._sign * value if math.isfinite(value) else -math.inf

    def _latest_stopped(self, trials: Sequence[Any]) -> list[Any]:
        latest = {trial.user_attrs[FOLDER]: trial for trial in trials}
        return [trial for trial in latest.values() if trial.state == self._states.PRUNED]

    def _promotable(self, trials: Sequence[Any]) -> Any:
        """A trial that stopped at a rung and is among its best by now, of the highest rung."""
        stopped = self._latest_stopped(trials)
        for rung in reversed(range(len(self.search.rungs))):
            best = self._best(rung, trials)
            here = [t for t in stopped if self._rungs_of(t) == rung + 1]
            for trial in sorted(here, key=lambda t: t.number):
                if trial.user_attrs[FOLDER] in best:
                    return trial
        return None

    def _furthest(self, trials: Sequence[Any]) -> Any:
        """The best of the trials that came furthest."""

        def rank(trial: Any) -> tuple[int, float]:
            steps = trial.intermediate_values
            return self._rungs_of(trial), self._score(steps[max(steps)])

        return max(self._latest_stopped(trials), key=rank, default=None)

    def _spent(self, trials: Sequence[Any]) -> bool:
        hours = self.search.gpu_hours
        return hours is not None and self._hours(trials) >= hours

    def _hours(self, trials: Sequence[Any]) -> float:
        """GPU hours of all trials, those that were interrupted included."""
        processes = {trial.user_attrs[FOLDER]: trial.user_attrs[PROCESSES] for trial in trials}
        return sum(
            _seconds(path) * each / 3600
            for name, each in processes.items()
            for path in (self.work_dir / name / ATTEMPTS_NAME).glob("*.json")
        )


def _seconds(path: Path) -> float:
    """How long an attempt took, or has taken."""
    try:
        data = read_json(path)
        ended = data["ended"] and datetime.fromisoformat(data["ended"]).timestamp()
        started = datetime.fromisoformat(data["started"]).timestamp()
        return max(0.0, (ended or path.stat().st_mtime) - started)
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0  # being written, or damaged
