"""Which arguments a class or function takes, with those that it hands on to its parents."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

# Given by whoever builds the object, never by a config.
GIVEN = {"self", "args", "kwargs", "runner", "dataloader", "optimizer", "params", "param_name"}
# Classes that take **kwargs and forget them, or fail over them at the end of the first epoch.
_DROP_OTHERS = {"BaseBBoxCoder", "BaseSampler", "CheckpointHook"}


def arguments_of(target: Callable[..., Any]) -> set[str]:
    """Names of a function's arguments that a config may give."""
    return set(inspect.signature(target).parameters) - GIVEN


@cache
def arguments(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """Arguments of a class or function with their defaults, and whether it takes any other.

    A class has those of its parents too where it hands them on as ``**kwargs``, and where it has no
    ``__init__`` of its own.
    """
    found: dict[str, Any] = {}
    takes_any = True
    constructors = [target]
    if inspect.isclass(target):
        classes = [c for c in target.__mro__[:-1] if "__init__" in vars(c)]
        constructors = [vars(c)["__init__"] for c in classes]
        takes_any = not any(c.__name__ in _DROP_OTHERS for c in classes)
    for constructor in constructors:
        parameters = inspect.signature(constructor).parameters.values()
        found = {p.name: p.default for p in parameters if p.name not in GIVEN} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found, False
    return found, takes_any and bool(constructors)
