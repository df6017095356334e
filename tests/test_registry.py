"""Every public name can be had from a config of any scope, as a string with our prefix."""

import subprocess
import sys

import pytest

NAMES = {
    "MODELS": ["VisionTransformer", "MAE", "FeaturePyramidAdapter", "LinearProbeHead"],
    "WEIGHT_INITIALIZERS": ["PretrainedBackbone"],
    "DATASETS": ["ImageNetC", "INaturalist", "Places205", "Places365"],
    "TRANSFORMS": ["LoadImage"],
    "HOOKS": [
        "RunCard",
        "WriteRecord",
        "ExportCheckpoint",
        "DrawReconstructions",
        "ProgressFile",
        "WeightAverage",
    ],
    "OPTIMIZERS": ["LARS"],
    "OPTIM_WRAPPER_CONSTRUCTORS": ["LayerDecayConstructor"],
    "PARAM_SCHEDULERS": ["WarmupCosineLR"],
    "METRICS": ["CorruptionError"],
}

# In a fresh interpreter: here other tests have imported everything already.
LOOK_UP = """
import sys
from mmengine import registry
kind, name, scope = sys.argv[1:]
with getattr(registry, kind).switch_scope_and_registry(scope) as found:
    print(found.get("mae_bench." + name).__module__)
"""


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names]
)
@pytest.mark.parametrize("scope", ["mmengine", "mmpretrain"])
def test_by_name(kind, name, scope):
    from mmengine import registry

    with getattr(registry, kind).switch_scope_and_registry(scope) as found:
        assert found.get(f"mae_bench.{name}").__module__.startswith("mae_bench.")


def test_by_name_with_nothing_imported_before():
    # One of the kinds whose location is imported on the first look-up only.
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK_UP, "DATASETS", "ImageNetC", "mmengine"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines()[-1:] == ["mae_bench.datasets.robustness"], result.stderr
