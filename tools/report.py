#!/usr/bin/env python
"""See ``mae_bench.cli.report``."""

from mae_bench.cli.command import run_command
from mae_bench.cli.report import main

if __name__ == "__main__":
    run_command(main)
