"""What every test needs."""

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import Tensor, nn

import mae_bench  # noqa: F401  before a test imports mmcv's operators

SEED_VARIABLE = "FAULTS_SEED"  # to repeat what was drawn
TALLY = "tally"


@pytest.fixture(autouse=True)
def no_default_scope():
    """A Runner leaves MMEngine's default scope set, and names would resolve there from then on."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def no_logger_of_another_test():
    """A Runner leaves its logger, which would write to the output of a test that is over."""
    yield
    MMLogger._instance_dict.clear()


def _randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            # A width of about 32 keeps activations near 1 with this scale.
            parameter.copy_(0.2 * noise + (1.0 if parameter.ndim == 1 else 0.0))
    return module


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).norm() / expected.norm())


@pytest.fixture
def randomise() -> Callable[..., nn.Module]:
    """Fill every parameter with seeded noise, so that no zero or one hides a missing term."""
    return _randomise


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """Euclidean norm of the difference over that of the expected tensor."""
    return _relative_error


@pytest.fixture
def tally(request) -> Counter[str]:
    """Counts of a test that injects faults, shown at the end: what was tried, what went wrong."""
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
    if call.when == "call" and hasattr(item, TALLY):
        item.user_properties.append((TALLY, dict(item.tally)))


# Here and not beside the tests of faults: several processes are led by one that collects none.
def pytest_terminal_summary(terminalreporter) -> None:
    """One line for each test that counts."""
    for report in sum(terminalreporter.stats.values(), []):
        properties = getattr(report, "user_properties", [])
        for counts in [value for name, value in properties if name == TALLY]:
            if report.when == "call":
                line = ", ".join(f"{what} {count}" for what, count in counts.items())
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {line}")
