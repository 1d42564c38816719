"""Work at the side: in order, to the end, and no error is lost."""

import threading

import pytest

from fabnet_secure.pipeline.ahead import hand_over, working


def test_a_call_at_the_side_gives_its_result():
    """The result comes when it is asked for, as often as it is."""
    with working(lambda one, other: one + other, 1, 2) as result:
        assert result() == result() == 3


def test_an_error_at_the_side_is_raised_here():
    """Whoever asks for the result gets the error; whoever does not has waited for the end."""
    with pytest.raises(ZeroDivisionError), working(lambda: 1 / 0) as result:
        result()
    with working(lambda: 1 / 0):
        pass


def test_items_are_taken_in_order_at_the_side():
    """Every item once, in order, in one other thread."""
    taken, threads = [], set()

    def take(item):
        taken.append(item)
        threads.add(threading.get_ident())

    hand_over(iter(range(100)), take)
    assert taken == list(range(100))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("place", [0, 5, 99])
def test_after_an_error_in_taking_nothing_more_is_taken(place):
    """The first error ends the work and is raised here, however full the queue is; no thread is left."""
    before, taken = threading.active_count(), []

    def take(item):
        taken.append(item)
        if item == place:
            raise ValueError(item)

    with pytest.raises(ValueError, match=str(place)):
        hand_over(iter(range(100)), take)
    assert taken == list(range(place + 1))
    assert threading.active_count() == before


def test_an_error_in_fetching_comes_after_what_was_fetched():
    """What was fetched before is taken; then the error is raised here."""
    taken = []

    def items():
        yield from range(3)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        hand_over(items(), taken.append)
    assert taken == [0, 1, 2]
