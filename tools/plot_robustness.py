#!/usr/bin/env python
"""See ``mae_bench.cli.plot_robustness``."""

from mae_bench.cli.command import run_command
from mae_bench.cli.plot_robustness import main

if __name__ == "__main__":
    run_command(main)
