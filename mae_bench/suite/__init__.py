"""Suites: initialisations x tasks x seeds, planned as jobs, run where they are not done yet."""

from .executor import run_jobs
from .plan import Job, plan_jobs
from .spec import Suite, load_suite

__all__ = ["Job", "Suite", "load_suite", "plan_jobs", "run_jobs"]
