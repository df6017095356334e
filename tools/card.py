#!/usr/bin/env python
"""See ``mae_bench.cli.card``."""

from mae_bench.cli.card import main
from mae_bench.cli.command import run_command

if __name__ == "__main__":
    run_command(main)
