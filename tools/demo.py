#!/usr/bin/env python
"""See ``mae_bench.cli.demo``."""

from mae_bench.cli.command import run_command
from mae_bench.cli.demo import main

if __name__ == "__main__":
    run_command(main)
