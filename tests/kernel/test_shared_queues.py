"""asyncnb's locks and queues between cells: each wait ends at once, whatever runs meanwhile."""

from __future__ import annotations


def test_a_plain_cell_wakes_tasks_while_it_keeps_the_main_thread(kernel):
    kernel.ok(
        """
        queue, event, got, taken = asyncnb.Queue(), asyncnb.Event(), [], threading.Event()
        async def consume():
            got.append(await queue.get())
            await event.wait()
            taken.set()
        """
    )
    kernel.ok("%atask consumer consume()")
    kernel.ok("while not queue._getters: time.sleep(0.001)")
    assert "Queue.get (0 in it)" in kernel.ok("%tasks").text
    cell = kernel.ok("queue.put_nowait(1); event.set(); print(taken.wait(10), got)")
    assert cell.stdout == "True [1]\n"


def test_cells_without_await_and_threads_wait_with_run(kernel):
    kernel.ok("queue = asyncnb.Queue(1)")
    kernel.ok(
        """
        def work():
            for number in range(3):
                asyncnb.run(queue.put(number))
        thread = threading.Thread(target=work)
        thread.start()
        """
    )
    assert kernel.evaluate("[asyncnb.run(queue.get(), timeout=10) for _ in range(3)]") == [0, 1, 2]
    assert (
        kernel.ok("thread.join(10); [await queue.put(9), await queue.get()]").result == "[None, 9]"
    )


def test_an_interrupt_ends_the_wait_for_a_lock_and_leaves_it_to_others(kernel):
    kernel.ok("lock = asyncnb.Lock(); await lock.acquire()")
    for code in ("await lock.acquire()", "asyncnb.run(lock.acquire())"):
        cell = kernel.submit(f"print('waits'); {code}")
        cell.wait_for("waits")
        kernel.interrupt()
        cell.wait()
        assert cell.error is not None and cell.error.ename == "KeyboardInterrupt"
        assert kernel.evaluate("len(lock._waiters)") == 0
    kernel.ok("lock.release(); assert not lock.locked()")
