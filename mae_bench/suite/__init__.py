"""Suites: initialisations x tasks x seeds, planned as jobs, run where they are not done yet."""

from .executor import LocalExecutor, run_jobs
from .plan import Job, plan_jobs
from .spec import Suite, load_suite
from .state import current_state

__all__ = ["Job", "LocalExecutor", "Suite", "current_state", "load_suite", "plan_jobs", "run_jobs"]
