"""``python -m mae_bench COMMAND``."""

from .cli.main import main

main()
