#!/usr/bin/env python
"""See ``mae_bench.cli.check_env``."""

from mae_bench.cli.check_env import main
from mae_bench.cli.command import run_command

if __name__ == "__main__":
    run_command(main)
