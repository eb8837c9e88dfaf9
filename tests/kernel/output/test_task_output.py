"""The kept output of one task, read by cursors while threads print."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from asyncnb._kernel.output.task_output import MAX_ITEMS, TaskOutput

STEPS = st.lists(
    st.integers(1, 30)  # print so many characters
    | st.just("display")
    | st.just("read")
    | st.just("error"),
    max_size=60,
)


@given(STEPS, st.integers(1, 25), st.booleans(), st.none() | st.integers(1, 20))
def test_a_reader_gets_each_character_once_or_is_told_that_it_is_gone(
    steps: list, most: int, shown: bool, limit: int | None
) -> None:
    output = TaskOutput(most)
    printed, cursor = "", 0
    for number, step in enumerate([*steps, *["read"] * 60]):
        if step == "read":
            text, after, gone = output.since(cursor, limit, shown=shown)
            assert printed[cursor + gone : after] == text, "what is gone is in front of the text"
            assert after >= cursor and len(text) + gone == after - cursor
            cursor = after
        elif step == "display":
            output.add_display({"text/plain": f"d{number}"}, {}, {})
            # One that is larger than the limit is replaced by a line.
            replaced = output._items[-1][3]
            printed += replaced if shown else ""
        elif step == "error":
            output.add_error("E", "", [f"e{number}"])
            printed += f"e{number}"[-most:] + "\n" if shown else ""
        else:
            text = "".join(chr(97 + (number + i) % 26) for i in range(step))
            output.add("stdout", text)
            printed += text
    assert cursor == len(printed)


def test_threads_that_print_at_once_lose_nothing_and_delay_no_reader() -> None:
    output = TaskOutput(10**7)
    begin = threading.Barrier(5)

    def write(name: str) -> None:
        begin.wait()
        for n in range(MAX_ITEMS // 8):
            output.add("stdout", f"{name}{n};")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    begin.wait()
    found, cursor = "", 0
    while any(thread.is_alive() for thread in threads):
        text, cursor, gone = output.since(cursor)
        assert gone == 0
        found += text
    text, cursor, _ = output.since(cursor)
    found += text
    assert cursor == len(found)
    for name in "abcd":
        mine = [each for each in found.split(";") if each.startswith(name)]
        assert mine == [f"{name}{n}" for n in range(MAX_ITEMS // 8)]


def test_threads_that_fill_it_leave_the_counts_right() -> None:
    output = TaskOutput(100)

    def write() -> None:
        for _ in range(3000):
            output.add("stdout", "0123456789")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text, cursor, gone = output.since(0)
    assert cursor == 4 * 3000 * 10 == len(text) + gone
    assert output._size == len(text) <= 100


def test_an_update_of_a_display_moves_no_cursor() -> None:
    output = TaskOutput(1000)
    keywords = {"transient": {"display_id": "x"}}
    output.add_display({"text/plain": "0 %"}, {}, keywords)
    output.add("stdout", "printed")
    _, cursor, _ = output.since(0, shown=True)
    output.add_display({"text/plain": "100 %, done"}, {}, keywords | {"update": True})
    assert output.since(cursor, shown=True) == ("", cursor, 0)
    assert output.since(0, shown=True)[0] == "0 %\nprinted"
    assert output.items()[0][1][0] == {"text/plain": "100 %, done"}


def test_pictures_are_shown_by_their_type() -> None:
    output = TaskOutput(1000)
    output.add_display({"text/plain": "<Figure>", "image/png": "aaaa"}, {}, {})
    output.add_display({"text/html": "<b>"}, {}, {})
    output.add_display({}, {}, {})
    assert output.since(0, shown=True)[0] == "[image/png]\n[text/html]\n[nothing]\n"
