"""What a class of ours shares with the host's that it stands in for, as a table that is run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Promise:
    """One thing that users of a host's class rely on.

    Args:
        says: the promise, from the host's documentation.
        observe: what is seen of a class, ours or the host's, from a folder to write into.
        here: what is seen of ours, where it differs on purpose.
        why: what ours does instead and for which reason; a row of docs/openmmlab.md.
    """

    says: str
    observe: Callable[..., Any]
    here: Any = None
    why: str = ""


@dataclass(frozen=True)
class StandIn:
    """A class of ours, the host's, and the promises of the latter."""

    ours: type
    host: type
    promises: Sequence[Promise]

    @property
    def name(self) -> str:
        return self.ours.__name__


def every_promise(table: Sequence[StandIn]) -> Any:
    """Parametrise a test with ``stand_in`` and ``promise`` over a table."""
    rows = [(stand_in, promise) for stand_in in table for promise in stand_in.promises]
    names = [f"{stand_in.name}: {promise.says}" for stand_in, promise in rows]
    return pytest.mark.parametrize(("stand_in", "promise"), rows, ids=names)


def check(stand_in: StandIn, promise: Promise, folder: Any) -> None:
    """Run a promise on both classes and compare."""
    (folder / "host").mkdir()
    (folder / "ours").mkdir()
    expected = promise.observe(stand_in.host, folder / "host")
    found = promise.observe(stand_in.ours, folder / "ours")
    if promise.why:
        assert not same(found, expected), f"no difference any more: {expected}"
        assert same(found, promise.here), found
    else:
        assert same(found, expected), f"{found} is not {expected}"


def same(found: Any, expected: Any) -> bool:
    """Equal through containers; numbers to rounding."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and list(found) == list(expected)
            and all(same(found[key], expected[key]) for key in expected)
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(expected)
            and all(same(a, b) for a, b in zip(found, expected, strict=True))
        )
    if isinstance(expected, (torch.Tensor, np.ndarray)):
        found, expected = torch.as_tensor(found), torch.as_tensor(expected)
        return found.shape == expected.shape and torch.allclose(
            found.double(), expected.double(), rtol=1e-5, atol=1e-6, equal_nan=True
        )
    if isinstance(expected, float) and isinstance(found, (int, float)):
        if math.isnan(expected):
            return math.isnan(found)
        return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)
    return found == expected


def error(call: Callable[[], Any]) -> str:
    """Class of the exception that a call ends with, or ``"none"``."""
    try:
        call()
    except Exception as raised:
        return type(raised).__name__
    return "none"
