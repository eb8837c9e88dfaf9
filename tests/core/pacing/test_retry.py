"""Retry: which failures are tried again, how often, when; and objects of tenacity."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
import tenacity

from asyncnb import Rate, Retry
from asyncnb._core.pacing.backoff import Backoff
from asyncnb._core.pacing.retry import as_retry
from asyncnb.testing import run_virtual


class Answered(Exception):
    """An exception with a response, as client libraries have them."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"status {status}")
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Work:
    """Raises the exceptions in turn, then returns the item; notes when it was called."""

    def __init__(self, *raises: BaseException) -> None:
        self.raises = list(raises)
        self.times: list[float] = []

    async def __call__(self, item: Any) -> Any:
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if self.raises:
            raise self.raises.pop(0)
        return item


def times_of(value: Any, *raises: BaseException) -> list[float]:
    """When attempts begin with ``retry=value``, of work that raises these."""
    work = Work(*raises)

    async def main() -> None:
        retries = as_retry(value)
        assert retries is not None
        assert await retries.call(work, "item") == "item"
        assert retries.count == len(raises)

    run_virtual(main())
    return work.times


def gives_up(value: Any, exc: BaseException, attempts: int = 1) -> BaseException:
    """The exception that comes out after that many attempts, each of which raised ``exc``."""
    work = Work(*[exc] * attempts)

    async def main() -> BaseException:
        retries = as_retry(value)
        assert retries is not None
        with pytest.raises(BaseException) as caught:
            await retries.call(work, "item")
        return caught.value

    found = run_virtual(main())
    assert len(work.times) == attempts
    return found


def test_delays_double_up_to_the_longest() -> None:
    retry = Retry(5, first=1, longest=4, jitter=False)
    assert times_of(retry, *[OSError()] * 5) == [0, 1, 3, 7, 11, 15]
    assert Backoff(jitter=False).delay(10**6) == 30


def test_jitter_is_full_and_draws_from_no_other_generator() -> None:
    random.seed(20)
    before = random.getstate()
    delays = [Backoff(first=2, longest=60).delay(3) for _ in range(500)]
    assert random.getstate() == before
    assert 0 <= min(delays) < 0.5 and 7.5 < max(delays) <= 8
    assert 3.5 < sum(delays) / 500 < 4.5


def test_the_last_failure_comes_out() -> None:
    error = ConnectionError("cut")
    assert gives_up(2, error, attempts=3) is error
    assert gives_up(0, error) is error


@pytest.mark.parametrize(
    "exc",
    [
        TypeError("f() takes 1 argument"),
        AttributeError(),
        NameError(),
        ModuleNotFoundError(),
        NotImplementedError(),
        AssertionError(),
        RecursionError(),
        Answered(404),
        Answered(401, Retry_After="5"),
        Answered(422),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_what_would_fail_again_is_not_tried_again(exc: BaseException) -> None:
    assert gives_up(3, exc) is exc


@pytest.mark.parametrize(
    "exc",
    [
        TimeoutError(),
        OSError(),
        ValueError("no JSON"),
        KeyError("result"),
        RuntimeError(),
        Answered(500),
        Answered(408),
        Answered(429),
    ],
    ids=repr,
)
def test_what_may_be_different_next_time_is_tried_again(exc: Exception) -> None:
    assert len(times_of(1, exc)) == 2


def test_on_says_what_is_tried_again() -> None:
    assert len(times_of(Retry(1, on=TypeError), TypeError())) == 2
    assert len(times_of(Retry(2, on=(OSError, KeyError)), KeyError(), OSError())) == 3
    assert len(times_of(Retry(1, on=Exception), Answered(404))) == 2
    gives_up(Retry(1, on=OSError), ValueError())
    gives_up(Retry(9, on=lambda exc: "busy" in str(exc)), ValueError("busy"), attempts=10)
    gives_up(Retry(9, on=lambda exc: "busy" in str(exc)), ValueError("gone"))

    def broken(exc: Exception) -> bool:
        raise ZeroDivisionError("in the predicate")

    assert "in the predicate" in str(gives_up(Retry(on=broken), ValueError()))


def test_the_delay_is_what_the_server_asks_for() -> None:
    retry = Retry(2, jitter=False)
    assert times_of(retry, Answered(503, Retry_After="7"), OSError()) == [0, 7, 8]
    begin, later = times_of(1, Answered(429, Retry_After="7"))
    assert 7 <= later - begin <= 7.5
    ignored = Retry(1, jitter=False, retry_after=0)
    assert times_of(ignored, Answered(503, Retry_After="7")) == [0, 0.5]


def test_a_call_that_would_have_to_wait_too_long_fails() -> None:
    exc = gives_up(Retry(3, retry_after=60), Answered(429, Retry_After="61"))
    assert exc.__notes__ == [
        "Not tried again: the server asks to wait for 1 min 01 s, longer than "
        "Retry(retry_after=60) allows."
    ]


def test_too_many_requests_hold_the_whole_run_and_other_failures_do_not() -> None:
    async def main() -> None:
        rate, loop = Rate("60/min"), asyncio.get_running_loop()
        retries = as_retry(1)
        assert retries is not None
        work = Work(Answered(500, Retry_After="5"), Answered(429, Retry_After="30"))

        async def attempt(item: int) -> int:
            await rate.acquire()
            result: int = await work(item)
            return result

        calls = [asyncio.create_task(retries.call(attempt, n, rate=rate)) for n in range(20)]
        assert await asyncio.gather(*calls) == list(range(20))
        assert len(work.times) == 22
        # The burst had begun; from then on no call starts until the 30 s are over.
        assert work.times[:6] == [0] * 6
        assert work.times[6] == pytest.approx(30)
        assert loop.time() < 30 + 17

    run_virtual(main())


def test_the_budget_is_for_all_items_of_a_run() -> None:
    async def main() -> None:
        shared = Retry(5, budget=7, first=0.1)
        for _ in range(2):  # a run does not use up the budget of another one
            retries = as_retry(shared)
            assert retries is not None
            work = Work(*[OSError("down") for _ in range(200)])
            calls = [asyncio.create_task(retries.call(work, n)) for n in range(100)]
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert len(work.times) == 107
            notes = {note for exc in done for note in getattr(exc, "__notes__", ())}
            assert notes == {"Not tried again: Retry(budget=7) is used up for this run."}

    run_virtual(main())


def test_a_cancelled_call_is_not_tried_again() -> None:
    async def main() -> None:
        work = Work(*[OSError()] * 9)
        retries = as_retry(Retry(9, first=30, jitter=False))
        assert retries is not None
        task = asyncio.create_task(retries.call(work, 1))
        await asyncio.sleep(1)  # it waits for its second attempt
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(work.times) == 1

    run_virtual(main())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (True, "write how often, retry=3"),
        (False, "does not say how often: omit it"),
        (-1, "0 or more"),
        ("3", "not '3'"),
        (2.5, "not 2.5"),
        (OSError, r"asyncnb.Retry\(3, on=OSError\)"),
        (Retry, "the class Retry: call it first"),
        (tenacity.AsyncRetrying, "call it first"),
        (tenacity.retry(lambda item: item), "belongs on the function that map calls"),
        (lambda exc: True, r"a predicate is asyncnb.Retry\(3, on=function\)"),
        ([1, 2], "not list"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        as_retry(value)


async def _predicate(exc: Exception) -> bool:
    return True


def refusals() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"times": "3"}, "retry must be an integer"
    yield {"times": True}, "retry must be an integer"
    yield {"on": "OSError"}, "not str"
    yield {"on": ()}, "nothing again"
    yield {"on": int}, "not an exception class"
    yield {"on": (OSError, "x")}, "'x' is not an exception class"
    yield {"on": KeyboardInterrupt}, "only subclasses of Exception"
    yield {"on": BaseException}, "only subclasses of Exception"
    yield {"on": _predicate}, "plain function"
    yield {"first": -1}, r"Retry\(first=...\) must be 0 or more"
    yield {"first": 31}, "longer than the longest"
    yield {"longest": float("inf")}, "a number of seconds"
    yield {"longest": None}, "a number of seconds"
    yield {"retry_after": "60"}, "retry_after"
    yield {"jitter": 0.5}, "True or False"
    yield {"budget": -1}, "0 or more"


@pytest.mark.parametrize(("options", "sentence"), list(refusals()))
def test_bad_values_of_a_retry_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        Retry(**options)


class TestTenacity:
    """Its objects are used as they are, for any number of calls at a time."""

    @pytest.mark.parametrize("kind", [tenacity.AsyncRetrying, tenacity.Retrying])
    def test_stop_wait_and_retry_decide(self, kind: Any) -> None:
        retrying = kind(
            stop=tenacity.stop_after_attempt(3),
            wait=tenacity.wait_exponential(multiplier=2),
            retry=tenacity.retry_if_exception_type(OSError),
            reraise=True,
        )
        assert times_of(retrying, OSError(), OSError()) == [0, 2, 6]
        error = OSError("down")
        assert gives_up(retrying, error, attempts=3) is error
        gives_up(retrying, ValueError())

    def test_without_reraise_its_own_error_comes_out(self) -> None:
        retrying = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2))
        found = gives_up(retrying, OSError("down"), attempts=2)
        assert isinstance(found, tenacity.RetryError)
        assert isinstance(found.__cause__, OSError)

    def test_the_callbacks_are_called_with_the_item(self) -> None:
        seen: list[Any] = []
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(2),
            wait=tenacity.wait_fixed(1),
            before_sleep=lambda state: seen.append((state.args, state.attempt_number)),
            retry_error_callback=lambda state: "instead",
        )

        async def main() -> None:
            retries = as_retry(retrying)
            assert retries is not None
            work = Work(*[OSError()] * 2)
            told: list[float] = []
            result = await retries.call(work, 7, on_retry=lambda _, delay: told.append(delay))
            assert (result, told) == ("instead", [1])

        run_virtual(main())
        assert seen == [((7,), 1)]

    def test_results_can_be_tried_again(self) -> None:
        async def main() -> None:
            retries = as_retry(tenacity.AsyncRetrying(retry=tenacity.retry_if_result(bool)))
            assert retries is not None
            results = [1, 1, 0]

            async def attempt(item: object) -> int:
                return results.pop(0)

            assert await retries.call(attempt, None) == 0
            assert retries.count == 2

        run_virtual(main())

    def test_calls_at_the_same_time_do_not_share_a_state(self) -> None:
        async def main() -> None:
            retries = as_retry(
                tenacity.AsyncRetrying(
                    stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(1)
                )
            )
            assert retries is not None
            works = [Work(*[OSError()] * 2) for _ in range(50)]
            calls = [asyncio.create_task(retries.call(work, work)) for work in works]
            assert await asyncio.gather(*calls) == works
            assert {tuple(work.times) for work in works} == {(0, 1, 2)}
            assert retries.count == 100

        run_virtual(main())

    def test_a_call_can_be_cancelled_whatever_its_predicate_says(self) -> None:
        async def main() -> None:
            retrying = tenacity.AsyncRetrying(retry=tenacity.retry_if_exception(lambda exc: True))
            retries = as_retry(retrying)
            assert retries is not None
            task = asyncio.create_task(retries.call(lambda item: asyncio.sleep(9), None))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run_virtual(main())

    def test_too_many_requests_hold_the_pace(self) -> None:
        async def main() -> None:
            rate = Rate(None)
            retries = as_retry(
                tenacity.AsyncRetrying(
                    stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(1)
                )
            )
            assert retries is not None
            work = Work(Answered(429, Retry_After="30"))
            await retries.call(work, 1, rate=rate)
            assert rate.held == pytest.approx(29)

        run_virtual(main())
