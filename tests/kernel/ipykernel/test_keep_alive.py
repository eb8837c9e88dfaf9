"""A server that culls idle kernels sees that one with living tasks is not idle."""

from __future__ import annotations

#: Passes when every sign of life that was due has been given: timers of one loop go off in order.
DUE = "await asyncio.sleep(5 * k.INTERVAL)"


def test_living_tasks_give_signs_of_life_while_switched_on(kernel):
    kernel.ok("import asyncnb._kernel.ipykernel.keep_alive as k; k.INTERVAL = 0.01")
    kernel.ok("%%atask quiet\nawait asyncio.sleep(600)")
    kernel.ok("%asyncnb option keep_alive on")
    alive = kernel._cell("")  # what has no parent
    alive.wait_for(lambda cell: len(cell.of_type("asyncnb_alive")) > 1)
    kernel.ok(f"%asyncnb option keep_alive off\n{DUE}")
    kernel.drain()
    before = len(alive.of_type("asyncnb_alive"))
    kernel.ok(DUE)
    kernel.drain()
    assert len(alive.of_type("asyncnb_alive")) == before


def test_it_is_off_by_default_and_silent_without_tasks(kernel):
    assert "off" in kernel.ok("%asyncnb option keep_alive").text
    kernel.ok("import asyncnb._kernel.ipykernel.keep_alive as k; k.INTERVAL = 0.01")
    kernel.ok(f"%asyncnb option keep_alive on\n{DUE}")
    kernel.ok("%asyncnb option keep_alive off")
    kernel.drain()
    assert not kernel._cell("").of_type("asyncnb_alive")


def test_the_message_counts_as_activity_for_the_server():
    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager

    from asyncnb._kernel.ipykernel.keep_alive import MESSAGE

    assert MappingKernelManager().track_message_type(MESSAGE)
