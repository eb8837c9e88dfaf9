"""No way in: what a kernel with asyncnb listens to, and what its traces and pages contain."""

from __future__ import annotations

import psutil
import pytest


def listening(pid: int) -> set[tuple[int, str]]:
    """The ports on which a kernel and its worker processes accept connections."""
    family = [psutil.Process(pid)]
    family += family[0].children(recursive=True)
    return {
        (each.laddr.port, each.laddr.ip)
        for process in family
        for each in process.net_connections(kind="inet")
        if each.status == psutil.CONN_LISTEN
    }


@pytest.mark.promise("no port is opened: by tasks, dashboards, timelines or worker processes")
def test_no_port_is_opened(start_kernel):
    kernel = start_kernel(extension=False)
    before = listening(kernel.pid)
    assert before  # the kernel's own, or the look is blind
    kernel.ok("%load_ext asyncnb\nimport asyncio, asyncnb")
    kernel.ok("asyncnb.dashboard(); asyncnb.timeline()")
    kernel.ok("%%atask job --trace\nawait asyncio.sleep(0)\n'on the ' 'loop'").wait_for(
        "on the loop"
    )
    kernel.ok("%%atask far --on process\n'far ' 'away'").wait_for("far away", 60)
    kernel.ok("job")
    assert listening(kernel.pid) == before
