"""Numbers of a polygon are checked at once as they are one by one."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from mae_bench.datasets.coco_objects import LARGEST, are_numbers, is_number

VALUES = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=2), st.just([1])
)


@given(st.lists(VALUES, max_size=6) | st.lists(st.floats() | st.integers(), max_size=6))
@example([1.0, math.nan, 2.0])
@example([math.nan, math.inf])
@example([1, math.nan, 10**400])
@example([LARGEST, -LARGEST])
@example([LARGEST + 1])
@example([True, 1.0])
def test_numbers_at_once(values):
    assert are_numbers(values) == all(map(is_number, values))
