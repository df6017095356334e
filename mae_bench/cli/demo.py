"""The whole benchmark on small embedded data, on a laptop CPU; options are those of run_suite."""

from . import run_suite


def main() -> int:
    """Run the demo's suite."""
    return run_suite.main("configs/suite/demo.yaml")
