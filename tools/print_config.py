#!/usr/bin/env python
"""See ``mae_bench.cli.print_config``."""

from mae_bench.cli.command import run_command
from mae_bench.cli.print_config import main

if __name__ == "__main__":
    run_command(main)
