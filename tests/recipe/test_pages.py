"""docs/recipes is what the configs are today, and every value has a source."""

from pathlib import Path

import pytest

from mae_bench.cli.describe import TASKS
from mae_bench.recipe.page import LIBRARIES, NO_SOURCE, describe, versions
from mae_bench.recipe.values import values_of

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/recipes"
CONFIGS = [path for task in TASKS for path in sorted((ROOT / "configs" / task).glob("*.py"))]


def page_of(path: Path) -> Path:
    return PAGES / path.parent.name / f"{path.stem}.md"


def test_there_is_a_page_for_each_config():
    assert {page_of(path) for path in CONFIGS} == set(PAGES.glob("*/*.md"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_page_is_fresh_and_every_value_has_a_source(path):
    page = describe(path)
    lines = [line for line in page.splitlines() if NO_SOURCE in line]
    assert not lines, "state the sources in configs/sources.yaml"
    if versions() not in (PAGES / "README.md").read_text(encoding="utf-8"):
        pytest.skip("the pages are of other versions of the libraries")
    written = page_of(path).read_text(encoding="utf-8")
    assert page == written, "run tools/describe.py --all, and look at what changed"


def test_pages_are_of_the_pinned_libraries():
    """Else no page is compared above, and a new default of a library would show nowhere."""
    pins = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    pinned = {name.removeprefix("onedl-"): version for name, version in pins}
    written = (PAGES / "README.md").read_text(encoding="utf-8").partition("## Libraries")[2]
    rows = [line.strip("| ").split(" | ") for line in written.split("\n") if " | " in line][2:]
    assert {name: pinned[name] for name in LIBRARIES} == dict(rows)


def test_override_shows():
    path = ROOT / "configs/seg/upernet_vit_base_ade20k.py"
    page = describe(path, {"model.backbone.train_positions": False})
    assert "With `model.backbone.train_positions=False`." in page
    (row,) = [line for line in page.splitlines() if line.startswith("| `backbone.pos_embed`")]
    assert "frozen" in row


class Host:
    """A class of a library with a default, and one that hands the rest on."""

    def __init__(self, margin: float = 0.5, unused: object = None) -> None:
        pass


class Child(Host):
    """Takes one argument of its own."""

    def __init__(self, size: int = 3, **kwargs: object) -> None:
        super().__init__(**kwargs)


def test_defaults_of_a_class_and_its_parents_are_values():
    found = {v.key: (v.text, v.default_of) for v in values_of(dict(type=Child, size=4), "step")}
    assert found == {"step": ("Child", ""), "step.size": ("4", ""), "step.margin": ("0.5", "tests")}
