"""What a task printed and displayed is kept within bounds, whatever its type."""

from __future__ import annotations

import pytest

from tests.kernel.driver import Kernel

# One display each, of 20,000 to 100,000 characters.
PAYLOADS = {
    "text": "{'text/plain': str(n % 10) * 50_000}",
    "html": "{'text/html': '<b>' + str(n % 10) * 50_000 + '</b>'}",
    "a picture in base64": "{'image/png': base64.b64encode(bytes(30_000)).decode()}",
    "bytes": "{'image/png': PNG + bytes(30_000)}",
    "a dict": "{CHART: {'points': {str(i): i for i in range(3_000)}}}",
    "nested lists": "{CHART: [[[i, i + n], [i]] for i in range(3_000)]}",
    "metadata": "{'text/plain': ''}, metadata={'all': ['x' * 30_000]}",
    "an update of the display of another task": (
        "{CHART: list(range(9_000))}, update=True, transient={'display_id': str(n)}"
    ),
    "a print": None,
    "many small prints": "print",
}

SETUP = """
import base64, pickle
CHART, PNG = "application/x-chart+json", b"\\x89PNG\\r\\n\\x1a\\n"
publish = get_ipython().display_pub.publish
"""


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_kept_of_a_task_is_bounded_whatever_it_shows(kernel, payload):
    kernel.ok(SETUP)
    code = PAYLOADS[payload]
    match code:
        case None:
            say, times = "print(str(n % 10) * 50_000)", 40
        case "print":
            say, times = "print(end='x')", 30_000
        case _:
            say, times = f"publish({code})", 40
    kernel.ok(f"%%atask job --wait\nfor n in range({times}): {say}\nawait asyncio.sleep(0)", 60)
    kept = kernel.evaluate("len(pickle.dumps(job._record.output.items()))")
    assert 10_000 < kept < 500_000
    assert kernel.evaluate("len(job._record.output.items())") <= 10_000


def test_of_a_display_that_is_updated_only_the_last_state_is_kept_where_it_is(kernel):
    kernel.ok(
        """
        %%atask job --wait
        from IPython.display import display
        print("before")
        handle = display({"application/x-chart+json": {}}, raw=True, display_id=True)
        print("after")
        for n in range(3_000):
            data = {"application/x-chart+json": {"points": [n] * 1_000}, "text/plain": f"chart {n}"}
            handle.update(data, raw=True)
            if n % 10 == 0: await asyncio.sleep(0)
        """,
        60,
    )
    assert kernel.evaluate("[k for k, v in job._record.output.items() if k == 'display']") == [
        "display"
    ]
    again = kernel.ok("%tasks output job")
    assert again.text.split("\n") == ["before", "chart 2999", "after", ""]
    assert again.displays[0]["application/x-chart+json"] == {"points": [2_999] * 1_000}


def test_a_display_whose_start_is_no_longer_kept_is_shown_as_it_was_last(kernel):
    kernel.ok(
        "%%atask job --wait\n"
        "from IPython.display import display\n"
        "handle = display('first', display_id=True)\n"
        "for n in range(10): print('x' * 30_000)\n"
        "handle.update('last')\n"
        "await asyncio.sleep(0)"
    )
    assert kernel.ok("%tasks output job").shown == ["'last'"]


@pytest.mark.parametrize("way", ["display", "print", "traceback"])
def test_one_output_larger_than_all_that_is_kept_leaves_its_end_or_a_line(kernel, way):
    say = {
        "display": "get_ipython().display_pub.publish({'application/x': [[0] * 9] * 99_999})",
        "print": "print('x' * 3_000_000 + 'the end')",
        "traceback": "raise ValueError('x' * 3_000_000 + 'the end')",
    }[way]
    kernel.ok(f"%%atask job\nawait asyncio.sleep(0)\n{say}")
    kernel.run("%tasks wait job")
    [[kind, kept]] = kernel.evaluate("[[k, str(v)] for k, v in job._record.output.items()][:1]")
    assert len(kept) < 450_000
    assert ("output_tail" if kind == "display" else "the end") in kept


def test_a_picture_whose_size_fits_is_shown_again(kernel):
    kernel.ok(SETUP)
    kernel.ok("%%atask job --wait\npublish({'image/png': 'A' * 150_000})\nawait asyncio.sleep(0)")
    assert kernel.ok("%tasks output job").displays == [{"image/png": "A" * 150_000}]


LARGE = """
import gc, weakref
made = []
class Large: pass
def load():
    made.append(weakref.ref(large := Large()))
    return large
def fail():
    large = load()
    raise ValueError("no luck")
def alive():
    gc.collect()
    return sum(each() is not None for each in made)
"""


def test_del_frees_the_memory_of_a_result_that_was_bound(kernel: Kernel) -> None:
    kernel.ok(LARGE)
    kernel.ok("%%atask -o df\nawait asyncio.sleep(0)\nload()")
    kernel.ok("%tasks wait")
    assert kernel.ok("alive()").result == "1"
    kernel.ok("del df")
    assert kernel.ok("alive()").result == "0"


def test_a_traceback_that_was_shown_keeps_no_variables_alive_beyond_the_newest(
    kernel: Kernel,
) -> None:
    kernel.ok(LARGE)
    for _ in range(3):
        kernel.ok("%%atask\nawait asyncio.sleep(0)\nfail()")
        kernel.ok("asyncnb.tasks()[-1]._record.wait_shown(10)")
    assert kernel.ok("alive()").result == "1"
    kernel.ok("%asyncnb option frames 0")
    assert kernel.ok("alive()").result == "0"
    found = kernel.ok("asyncnb.tasks()[-1].info().error")
    assert found.result == "'ValueError: no luck'"
    assert kernel.ok("asyncnb.tasks()[-1].exception()").result == "ValueError('no luck')"
