#!/usr/bin/env python
"""See ``mae_bench.cli.completion``."""

from mae_bench.cli.command import run_command
from mae_bench.cli.completion import main

if __name__ == "__main__":
    run_command(main)
