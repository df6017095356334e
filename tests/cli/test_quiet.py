"""Logs are left out while a command runs, and not after it."""

import logging
import warnings

import pytest

from mae_bench.cli.quiet import without_logs


@pytest.mark.parametrize("fails", [False, True])
def test_logs_and_warnings_come_back(caplog, recwarn, fails):
    @without_logs()
    def command():
        logging.getLogger("host").warning("of no use")
        warnings.warn("of no use", stacklevel=1)
        if fails:
            raise ValueError("wrong")

    for _ in range(2):
        try:
            command()
        except ValueError:
            assert fails
    assert not recwarn
    with pytest.warns(UserWarning, match="of use"):
        warnings.warn("of use", stacklevel=1)
    logging.getLogger("host").warning("of use")
    assert caplog.messages == ["of use"]
