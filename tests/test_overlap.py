import threading
import time

import pytest

from mri_n2n.overlap import Overlap


@pytest.mark.parametrize("count", [0, 1, 3])
def test_everything_in_order(count: int) -> None:
    written = []
    with Overlap(count) as overlap:
        for item, result in overlap.ahead(lambda number: number**2, range(10)):
            overlap.behind(written.append, (item, result()))
    assert (written if count == 0 else sorted(written)) == [(number, number**2) for number in range(10)]


@pytest.mark.parametrize("count", [0, 2])
def test_no_more_is_read_ahead_than_asked_for(count: int) -> None:
    begun = []
    with Overlap(count) as overlap:
        for item, result in overlap.ahead(begun.append, range(8)):
            result()
            time.sleep(0.02)
            assert max(begun) <= item + count
    assert sorted(begun) == list(range(8))


@pytest.mark.parametrize("count", [0, 2])
def test_no_more_waits_to_be_written_than_asked_for(count: int) -> None:
    """Else finished volumes would pile up beside a slow disk."""
    held, handed_over = threading.Event(), []

    def hand_over() -> None:
        with Overlap(count) as overlap:
            for number in range(count + 3):
                overlap.behind(held.wait, 10)
                handed_over.append(number)

    thread = threading.Thread(target=hand_over)
    thread.start()
    time.sleep(0.2)
    before = len(handed_over)
    held.set()
    thread.join(10)
    assert before == count
    assert len(handed_over) == count + 3


def test_reading_goes_on_beside_the_work() -> None:
    third = threading.Event()
    with Overlap(2) as overlap:
        for item, _ in overlap.ahead(lambda number: number == 2 and third.set(), range(4)):
            if item == 0:
                assert third.wait(10)


def test_a_failed_read_is_raised_where_its_turn_is() -> None:
    def read(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        return number

    seen = []
    with Overlap(2) as overlap:
        for item, result in overlap.ahead(read, range(3)):
            if item == 1:
                with pytest.raises(ValueError, match="one"):
                    result()
            else:
                seen.append(result())
    assert seen == [0, 2]


@pytest.mark.parametrize("count", [0, 3])
def test_a_failed_write_is_raised(count: int) -> None:
    def write() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Overlap(count) as overlap:
        overlap.behind(write)


def test_what_was_handed_over_is_written_after_an_error() -> None:
    written: list[int] = []

    def write(number: int) -> None:
        time.sleep(0.05)
        written.append(number)

    def broken() -> None:
        with Overlap(3) as overlap:
            for number in range(3):
                overlap.behind(write, number)
            raise RuntimeError("network")

    with pytest.raises(RuntimeError, match="network"):
        broken()
    assert sorted(written) == [0, 1, 2]
