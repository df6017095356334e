"""The whole benchmark on small embedded data, on a laptop CPU; options are those of run_suite."""

from pathlib import Path

from . import card, run_suite

SUITE = "configs/suite/demo.yaml"


def main() -> int:
    """Run the demo's suite, then make the card of its MAE."""
    args = run_suite.parse_args(SUITE)
    code = run_suite.main(SUITE)
    work_dir = args.work_dir or "work_dirs/demo"
    checkpoint = Path(work_dir, "seed0/MAE/pretrain/checkpoint.safetensors")
    if code or args.dry_run or not checkpoint.is_file():
        return code
    return card.make_card(f"MAE={checkpoint}", "data/miniworld", work_dir=f"{work_dir}_card")
