"""How fast a run is, and when it will end: a window, without jumps, without what was saved."""

from __future__ import annotations

from asyncnb._core.mapping.counts import MapCounts, Meter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def meter(total: int | None = 1000) -> tuple[Meter, Clock]:
    clock, made = Clock(), Meter(total, 10)
    made.begin(clock)
    return made, clock


def run(made: Meter, clock: Clock, seconds: float, per_second: float) -> list[MapCounts]:
    """Let items end for some time, with a sample for each; return the counts after each."""
    found = []
    for _ in range(round(seconds * per_second)):
        clock.now += 1 / per_second
        made.done += 1
        made.sample()
        found.append(made.counts())
    return found


def test_the_speed_is_that_of_the_last_ten_seconds() -> None:
    made, clock = meter()
    run(made, clock, 20, 20)
    assert round(made.counts().per_second, 3) == 20
    run(made, clock, 11, 5)
    counts = made.counts()
    assert round(counts.per_second, 3) == 5
    assert counts.eta is not None
    assert round(counts.eta) == (1000 - 455) / 5


def test_slow_calls_have_a_speed_at_any_moment_and_an_end_that_does_not_jump() -> None:
    made, clock = meter(60)
    run(made, clock, 300, 1 / 60)
    while made.done < 50:
        [counts] = run(made, clock, 60, 1 / 60)
        clock.now += 50
        later = made.counts()
        clock.now -= 50
        assert counts.eta is not None
        assert later.eta is not None
        assert abs(later.eta + 50 - counts.eta) < 0.2 * counts.eta + 60


def test_what_came_from_the_save_file_makes_it_look_no_faster() -> None:
    made, clock = meter()
    made.done = made.saved = 600
    made.sample()
    run(made, clock, 5, 4)
    counts = made.counts()
    assert round(counts.per_second, 3) == 4
    assert counts.eta is not None
    assert round(counts.eta) == 380 / 4


def test_nothing_is_known_before_the_first_item_nor_of_items_without_a_number() -> None:
    made, clock = meter()
    clock.now += 5
    assert made.counts().eta is None
    unknown, clock = meter(None)
    run(unknown, clock, 5, 4)
    assert (round(unknown.counts().per_second, 3), unknown.counts().eta) == (4, None)


def test_a_retry_is_measured_by_itself() -> None:
    made, clock = meter(100)
    run(made, clock, 10, 10)
    made.end()
    made.done -= 20
    clock.now += 100
    made.begin(clock)
    run(made, clock, 2, 5)
    assert round(made.counts().per_second, 3) == 5
    assert round(made.counts().seconds) == 12
