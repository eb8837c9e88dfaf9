"""A kernel whose messages are encrypted: all that asyncnb sends takes the kernel's own sockets."""

from __future__ import annotations

import subprocess

import pytest
from jupyter_client.manager import KernelManager


@pytest.fixture
def encrypted_kernel(python, start_kernel):
    if not KernelManager.class_traits(config=True).get("transport_encryption"):
        pytest.skip("this jupyter_client has no encryption")
    offer = "import ipykernel.kernelspec as k; print(k.get_kernel_dict().get('metadata'))"
    done = subprocess.run([python, "-c", offer], capture_output=True, text=True, check=True)
    if "curve" not in done.stdout:
        pytest.skip("this ipykernel has no encryption")
    kernel = start_kernel(encrypted=True)
    assert kernel.evaluate("get_ipython().kernel.parent.curve_secretkey is not None")
    return kernel


def test_tasks_print_fail_and_are_stopped_in_an_encrypted_kernel_as_in_any(encrypted_kernel):
    kernel = encrypted_kernel
    kernel.ok("gate = asyncio.Event()")
    talker = kernel.ok(
        """
        %%atask talker
        await gate.wait()
        print("late")
        await asyncio.to_thread(print, "late in a thread")
        display("late display")
        raise ValueError("late failure")
        """
    )
    patient = kernel.ok("%%atask patient\nawait asyncio.sleep(60)")
    busy = kernel.submit("print('waiting'); gate.set(); await asyncio.sleep(60)")
    busy.wait_for("waiting")
    talker.wait_for(lambda cell: cell.errors)
    assert talker.stdout == "late\nlate in a thread\n"
    assert talker.shown == ["'late display'"]
    assert [error.evalue for error in talker.errors] == ["late failure"]

    kernel.interrupt()
    assert busy.wait(10).error.ename == "KeyboardInterrupt"
    assert kernel.evaluate("patient.done()") is False
    kernel.ok("%tasks cancel patient\n%tasks wait patient")
    assert kernel.evaluate("patient.cancelled()") is True
    assert patient.errors == []
    kernel.shutdown()
    assert not kernel.alive
