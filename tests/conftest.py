"""What every test needs."""

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def no_default_scope():
    """A Runner leaves MMEngine's default scope set, and names would resolve there from then on."""
    DefaultScope._instance_dict.clear()
