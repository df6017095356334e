"""Benchmarks against the closest peers, one module for each sub-command of tools/benchmark.py.

A module with ``add_arguments(parser)`` and ``run(args)`` is a sub-command; its docstring is the
help. Ratios come from one run with the variants interleaved, because a machine's speed drifts.
"""
