"""The printed config trains as the one that was printed."""

import json
from pathlib import Path

from .conftest import FEW_LABELS, ROOT, SHRINK

CONFIG = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"


def test_a_printed_config_trains_the_same(run_tool, workplace):
    printed = run_tool("print_config.py", CONFIG, "--cfg-options", *SHRINK, *FEW_LABELS)
    assert printed.code == 0, printed.stderr
    Path("printed.py").write_text(printed.stdout)
    results = []
    for name, config, options in (
        ("a", CONFIG, ["--cfg-options", *SHRINK, *FEW_LABELS]),
        ("b", "printed.py", []),
    ):
        done = run_tool("train.py", config, "--work-dir", name, *options)
        assert done.code == 0, done.stderr[-2000:]
        (log,) = Path(name).glob("*/vis_data/scalars.json")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        results.append([line.get("loss", line.get("accuracy/top1")) for line in lines])
    assert results[0] == results[1] and None not in results[0]


def test_difference(run_tool):
    other = ROOT / "configs/cls/vit_mini_linear_miniworld.py"
    done = run_tool("print_config.py", CONFIG, "--diff", other)
    assert done.code == 0, done.stderr
    assert "model.backbone.frozen: False (default) | True" in done.stdout.splitlines()
    assert "optim_wrapper.optimizer: torch.AdamW | mae_bench.LARS" in done.stdout.splitlines()
    done = run_tool("print_config.py", CONFIG, "--diff", "nothing.py")
    assert done.code == 2 and "nothing.py: no such config file" in done.stderr
