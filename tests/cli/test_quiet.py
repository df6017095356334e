"""Logs are left out while a command runs, and not after it."""

import logging

import pytest

from mae_bench.cli.quiet import without_logs


@pytest.mark.parametrize("fails", [False, True])
def test_logs_come_back(caplog, fails):
    @without_logs()
    def command():
        logging.getLogger("host").warning("of no use")
        if fails:
            raise ValueError("wrong")

    for _ in range(2):
        try:
            command()
        except ValueError:
            assert fails
    logging.getLogger("host").warning("of use")
    assert caplog.messages == ["of use"]
