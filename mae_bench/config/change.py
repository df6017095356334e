"""A config after its overrides, beside what it was before."""

from typing import Any

from mmengine.config import Config

from .keys import find, set_at


class Change:
    """A config after its overrides, beside what it was before.

    Args:
        cfg: changed in place.
        before: the config without the overrides.
        given: dotted keys of the overrides.
    """

    def __init__(self, cfg: Config, before: Config, given: set[str]) -> None:
        self.cfg, self.before, self.given = cfg, before, given

    def is_given(self, key: str) -> bool:
        """Whether the user set this key, one above it or one below it."""
        return any(f"{key}.".startswith(f"{g}.") or g.startswith(f"{key}.") for g in self.given)

    def set(self, key: str, value: Any) -> None:
        """Set a dotted key unless the user did."""
        if not self.is_given(key):
            set_at(self.cfg, key, value)

    def expect(self, key: str, value: Any, source: str) -> None:
        """Set a key that can have one value only.

        Raises:
            ValueError: the user gave it another one.
        """
        if self.is_given(key) and _plain(find(self.cfg, key)) != _plain(value):
            raise ValueError(f"{key}={find(self.cfg, key)} contradicts {source}: leave it out")
        self.set(key, value)

    def changed(self, key: str) -> tuple[Any, Any] | None:
        """(before, after) of a key that the overrides changed; None where they did not."""
        old, new = find(self.before, key), find(self.cfg, key)
        return (old, new) if self.is_given(key) and old != new else None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
