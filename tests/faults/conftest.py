"""What every test of faults shares: a seed that is printed, and counts shown at the end."""

import os
import random
from collections import Counter

import pytest

SEED_VARIABLE = "FAULTS_SEED"  # to repeat a run
TALLY = "tally"


@pytest.fixture
def tally(request) -> Counter[str]:
    """Counts of a test: faults tried, and what went wrong, each of which has to be 0."""
    request.node.tally = Counter()
    return request.node.tally


@pytest.fixture
def chance(tally) -> random.Random:
    """Chance with a seed that the output names."""
    tally["seed"] = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    return random.Random(tally["seed"])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call) -> None:
    """Give the counts to the report, which may be of another process."""
    if call.when == "call" and hasattr(item, "tally"):
        item.user_properties.append((TALLY, dict(item.tally)))


def pytest_terminal_summary(terminalreporter) -> None:
    """One line for each test that counts."""
    for report in sum(terminalreporter.stats.values(), []):
        properties = getattr(report, "user_properties", [])
        for counts in [value for name, value in properties if name == TALLY]:
            if report.when == "call":
                line = ", ".join(f"{what} {count}" for what, count in counts.items())
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {line}")
