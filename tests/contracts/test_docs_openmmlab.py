"""The table of differences in the docs is the one that the tests run."""

from pathlib import Path

from . import test_mmdet, test_mmengine, test_mmpretrain, test_mmseg

DOCS = Path(__file__).parents[2] / "docs/openmmlab.md"
MODULES = (test_mmengine, test_mmpretrain, test_mmdet, test_mmseg)
NAMES = dict(
    mmengine="MMEngine", mmpretrain="MMPretrain", mmdet="MMDetection", mmseg="MMSegmentation"
)


def rows() -> list[str]:
    """A row for each promise that is kept otherwise, by class, each difference once."""
    found = []
    for module in MODULES:
        library = NAMES[module.__name__.rpartition("test_")[2]]
        for stand_in in module.TABLE:
            names = f"| `{stand_in.name}` | {library}'s `{stand_in.host.__name__}` |"
            found += [f"{names} {p.says} | {p.why} |" for p in stand_in.promises if p.why]
    return found


def classes() -> list[str]:
    """A row for each class that stands in for a host's."""
    found = []
    for module in MODULES:
        library = NAMES[module.__name__.rpartition("test_")[2]]
        for stand_in in module.TABLE:
            kept = sum(not promise.why for promise in stand_in.promises)
            found.append(f"| `{stand_in.name}` | {library}'s `{stand_in.host.__name__}` | {kept} |")
    return found


def test_docs_show_what_the_tests_run():
    text = DOCS.read_text()
    missing = [row for row in [*classes(), *rows()] if row not in text]
    assert not missing, "\n".join(missing)
    shown = [line for line in text.splitlines() if line.startswith("| `")]
    extra = [row for row in shown if row not in [*classes(), *rows()]]
    assert not extra, "\n".join(extra)
