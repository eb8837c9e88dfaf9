"""What an HTTP response says, found in the exceptions of four client libraries."""

from __future__ import annotations

import email.message
import email.utils
import time
import urllib.error
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncnb._core.pacing.retry_after import Answer, find_answer


def of_httpx(status: int, headers: dict[str, str]) -> BaseException:
    request = httpx.Request("GET", "http://127.0.0.1")
    response = httpx.Response(status, headers=headers, request=request)
    return httpx.HTTPStatusError("bad", request=request, response=response)


def of_aiohttp(status: int, headers: dict[str, str]) -> BaseException:
    url = URL("http://127.0.0.1")
    info = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(info, (), status=status, headers=CIMultiDict(headers))


def of_requests(status: int, headers: dict[str, str]) -> BaseException:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return requests.HTTPError("bad", response=response)


def of_urllib(status: int, headers: dict[str, str]) -> BaseException:
    message = email.message.Message()
    for name, value in headers.items():
        message[name] = value
    return urllib.error.HTTPError("http://127.0.0.1", status, "bad", message, None)


def of_a_bare_response(status: int, headers: dict[str, str]) -> BaseException:
    return RuntimeError("refused", httpx.Response(status, headers=headers))


def of_a_cause(status: int, headers: dict[str, str]) -> BaseException:
    exc = RuntimeError("the service refused")
    exc.__cause__ = of_httpx(status, headers)
    return exc


KINDS = [of_httpx, of_aiohttp, of_requests, of_urllib, of_a_bare_response, of_a_cause]


@pytest.mark.parametrize("make", KINDS)
def test_seconds_and_dates_are_read(make: Any) -> None:
    assert find_answer(make(429, {"Retry-After": "120"})) == Answer(429, 120)
    assert find_answer(make(503, {"retry-after": "1.5"})) == Answer(503, 1.5)
    assert find_answer(make(429, {"Retry-After-Ms": "250", "Retry-After": "1"})) == Answer(
        429, 0.25
    )
    assert find_answer(make(500, {})) == Answer(500, None)
    found = find_answer(make(429, {"Retry-After": email.utils.formatdate(time.time() + 90)}))
    assert found is not None
    assert found.retry_after == pytest.approx(90, abs=5)


def test_a_date_is_measured_by_the_clock_of_the_server() -> None:
    headers = {
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
    }
    assert find_answer(of_httpx(429, headers)) == Answer(429, 30)
    headers["Retry-After"] = "Wednesday, 21-Oct-15 07:29:00 GMT"  # an obsolete form of HTTP
    assert find_answer(of_httpx(429, headers)) == Answer(429, 60)
    headers["Retry-After"] = "Wed, 21 Oct 2015 07:00:00 GMT"  # it is over
    assert find_answer(of_httpx(429, headers)) == Answer(429, 0)


@pytest.mark.parametrize(
    "value", ["soon", "-5", "nan", "inf", "1e999", "", "Wed, 99 Foo 2015", "Wed", "0x10", "99:99"]
)
def test_nonsense_is_no_time(value: str) -> None:
    assert find_answer(of_httpx(429, {"Retry-After": value})) == Answer(429, None)


class Hostile(Exception):
    """Whatever is asked of it raises."""

    @property
    def response(self) -> object:
        raise RuntimeError("no response")

    @property
    def headers(self) -> object:
        raise RuntimeError("no headers")


def test_other_exceptions_have_no_answer() -> None:
    circle = ValueError()
    circle.__cause__ = circle
    for exc in (ValueError("no", 404), OSError(104, "reset"), Hostile(), circle, KeyError(b"429")):
        assert find_answer(exc) is None
    request = httpx.Request("GET", "http://127.0.0.1")
    assert find_answer(httpx.ReadTimeout("slow", request=request)) is None


@pytest.mark.parametrize(
    ("status", "after", "final", "holds"),
    [
        (404, None, True, False),
        (400, 5, True, False),
        (408, None, False, False),
        (429, None, False, False),
        (429, 5, False, True),
        (500, 5, False, False),
        (503, 5, False, True),
        (None, 5, False, False),
    ],
)
def test_what_an_answer_means(status: Any, after: Any, final: bool, holds: bool) -> None:
    answer = Answer(status, after)
    assert (answer.final, answer.holds) == (final, holds)
