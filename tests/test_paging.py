"""Pages lie in a row where they can."""

import pytest

from hermes_ui.generation.paging import line_up


def taken(free, count, after=None):
    """The pages that are given out next."""
    line_up(free, count, after)
    return [free.pop() for _ in range(count)]


@pytest.mark.parametrize(
    ("free", "count", "after", "pages"),
    [
        pytest.param([9, 2, 3, 4, 8], 3, None, [2, 3, 4], id="a row that is long enough"),
        pytest.param([1, 2, 3, 4, 5, 8, 9], 2, None, [8, 9], id="the shortest such row"),
        pytest.param([1, 2, 3, 6, 7, 8, 9], 3, 5, [6, 7, 8], id="a row that goes on"),
        pytest.param([1, 2, 3, 6, 7], 3, 5, [1, 2, 3], id="what goes on is too short"),
        pytest.param([1, 3, 4, 6], 3, None, [3, 4, 6], id="no row: the longest first"),
        pytest.param([5], 0, None, [], id="nothing is wanted"),
    ],
)
def test_pages_are_given_out_in_rows(free, count, after, pages):
    assert taken(free, count, after) == pages


def test_no_page_is_lost():
    free = [7, 1, 5, 2, 9, 8]

    line_up(free, 3, 4)

    assert sorted(free) == [1, 2, 5, 7, 8, 9]
