"""What asyncnb leans on in IPython, ipykernel, traitlets and matplotlib, in a real kernel.

Names with an underscore stand in ``tests/leans.py``. Public ones that no manual promises, and the
shapes of messages and frames, are here.
"""

from __future__ import annotations

import textwrap

import pytest

from tests.kernel.driver import Kernel, KernelError
from tests.leans import NOTEBOOK, NOTEBOOK_PREAMBLE, Lean


@pytest.mark.parametrize("lean", NOTEBOOK, ids=lambda lean: lean.name)
def test_the_kernel_has(kernel: Kernel, lean: Lean) -> None:
    kernel.ok(NOTEBOOK_PREAMBLE)
    try:
        holds = kernel.evaluate(f"bool({lean.holds})")
    except KernelError as exc:
        raise AssertionError(f"{lean.complaint()}: {exc}") from exc
    assert holds, lean.complaint()


#: An expression, the file of asyncnb that needs it, and for what.
PUBLIC = [
    ("callable(sys.stdout.pub_thread.schedule)", "_kernel/ipykernel/streams.py", "prints of tasks"),
    ("sys.stdout.flush_interval > 0", "_kernel/ipykernel/streams.py", "prints of tasks"),
    (
        "callable(ip.set_parent) and callable(ip.get_parent)",
        "_kernel/ipykernel/parents.py",
        "output",
    ),
    (
        "ip.displayhook.session and ip.displayhook.pub_socket",
        "_kernel/ipykernel/messages.py",
        "failures",
    ),
    ("'msg_id' in ip.displayhook.parent_header", "_kernel/ipykernel/messages.py", "failures"),
    ("ip.hooks.show_in_pager.chain[0][1].__func__", "_kernel/output/router.py", "`name?` in tasks"),
    (
        "callable(kernel.raw_input) and callable(kernel.getpass)",
        "_kernel/ipykernel/streams.py",
        "input()",
    ),
    ("'shutdown_request' in kernel.control_handlers", "_kernel/ipykernel/shutdown.py", "cleanup"),
    (
        "'execute_request' in kernel.shell_handlers",
        "_kernel/ipykernel/interrupts.py",
        "the stop button",
    ),
    ("callable(kernel.post_handler_hook)", "_kernel/ipykernel/interrupts.py", "the stop button"),
    ("callable(ip.run_code)", "_kernel/ipykernel/interrupts.py", "the stop button"),
    (
        "callable(kernel.session.send) and kernel.iopub_socket",
        "_kernel/ipykernel/keep_alive.py",
        "culling",
    ),
    (
        "kernel.io_loop.asyncio_loop.is_running()",
        "_kernel/ipykernel/kernel.py",
        "failures of plain tasks",
    ),
    ("callable(ip.showtraceback)", "_kernel/output/tracebacks.py", "tracebacks"),
    (
        "callable(ip.InteractiveTB.structured_traceback)",
        "_kernel/output/tracebacks.py",
        "tracebacks",
    ),
    ("callable(ip.SyntaxTB.structured_traceback)", "_kernel/output/tracebacks.py", "syntax errors"),
    ("callable(ip.should_run_async)", "_kernel/awaiting/autoawait.py", "cells with await"),
    (
        "ip.loop_runner_map['asyncio'][0] is ip.loop_runner",
        "_kernel/awaiting/autoawait.py",
        "await",
    ),
    ("callable(ip.builtin_trap.__enter__)", "_extension.py", "loading"),
    ("set(ip.magics_manager.magics) == {'line', 'cell'}", "_extension.py", "unloading"),
    ("type(ip.Completer.custom_matchers) is list", "_extension.py", "Tab completion"),
    ("type(ip.configurables) is list", "_extension.py", "unloading"),
    (
        "callable(ip.displayhook.semicolon_at_end_of_expression)",
        "_kernel/awaiting/detach.py",
        "detaching a cell",
    ),
    (
        "ip.displayhook.do_full_cache in (True, False)",
        "_kernel/awaiting/detach.py",
        "detaching a cell",
    ),
    (
        "{'pre_run_cell', 'post_run_cell'} <= set(ip.events.callbacks)",
        "_kernel/output/unawaited.py",
        "cells",
    ),
]


@pytest.mark.parametrize(("holds", "used", "breaks"), PUBLIC, ids=[row[0] for row in PUBLIC])
def test_the_kernel_still_has(kernel: Kernel, holds: str, used: str, breaks: str) -> None:
    kernel.ok(NOTEBOOK_PREAMBLE)
    assert kernel.evaluate(f"bool({holds})"), f"asyncnb/{used} needs {holds}, for: {breaks}"


def test_the_shell_channel_has_what_clicks_come_through(kernel: Kernel) -> None:
    kernel.ok(NOTEBOOK_PREAMBLE)
    if not kernel.evaluate("seven"):
        # ipykernel 6 has no thread for the channel: a widget's own on_msg comes after the cell.
        assert not kernel.evaluate("hasattr(kernel, 'shell_channel_thread')")
        return
    assert kernel.evaluate("callable(kernel.shell_channel_thread.io_loop.add_callback)")
    assert kernel.evaluate("callable(type(kernel).shell_channel_thread_main)")
    assert kernel.evaluate("callable(kernel.shell_stream.on_recv)")


def test_a_message_has_its_header_second_and_its_content_fifth(kernel: Kernel) -> None:
    kernel.ok(
        textwrap.dedent(
            """
            session = get_ipython().kernel.session
            message = session.msg("comm_msg", {"comm_id": "a", "data": {"method": "custom"}})
            wire = session.serialize(message, ident=b"who")
            import zmq
            _, frames = session.feed_identities([zmq.Frame(part) for part in wire], copy=False)
            """
        )
    )
    assert kernel.evaluate("b'\"comm_msg\"' in frames[1].bytes")
    assert kernel.evaluate("session.unpack(frames[4].bytes)['data']['method']") == "custom"
    whole = "session.deserialize(frames, content=True, copy=False)"
    assert kernel.evaluate(f"{whole}['content']['comm_id']") == "a"


def test_the_running_cell_is_known_by_its_message_with_the_id_of_the_cell(kernel: Kernel) -> None:
    cell = kernel.ok("parent = get_ipython().get_parent()", cell_id="abc")
    assert kernel.evaluate("parent['metadata']['cellId']") == "abc"
    assert kernel.evaluate("parent['header']['msg_id']") == cell.msg_id


def test_the_code_of_a_cell_has_a_name_by_which_it_is_known(kernel: Kernel) -> None:
    kernel.ok("import sys\ncode = sys._getframe().f_code")
    name = kernel.evaluate("code.co_name")
    assert name == "<module>" or name.startswith("<cell line")
    said = kernel.evaluate("get_ipython().compile.format_code_name(code.co_filename)")
    assert said[0] == "Cell" and said[1].startswith("In[")


def test_the_frame_of_a_running_cell_holds_its_result(kernel: Kernel) -> None:
    kernel.ok("from IPython.core.interactiveshell import ExecutionResult, InteractiveShell")
    code = "InteractiveShell.run_cell_async.__code__"
    assert kernel.evaluate(f"'result' in {code}.co_varnames + {code}.co_cellvars")
    assert kernel.evaluate("hasattr(ExecutionResult(None), 'error_in_exec')")
    assert kernel.evaluate("hasattr(ExecutionResult(None), 'error_before_exec')")


def test_pyplot_keeps_its_figures_where_they_are_led_apart(kernel: Kernel) -> None:
    kernel.ok("import matplotlib.pyplot as plt, matplotlib._pylab_helpers as helpers")
    assert kernel.evaluate("type(helpers.Gcf.figs).__name__") == "FiguresByTask"
    # In one cell: its end closes them.
    cell = kernel.ok("plt.figure(); print(list(helpers.Gcf.figs)); plt.close('all')")
    assert cell.stdout == "[1]\n"
    assert kernel.evaluate("list(helpers.Gcf.figs)") == []


def test_the_trait_of_a_parent_header_is_kept_where_it_is_replaced(kernel: Kernel) -> None:
    kernel.ok(
        textwrap.dedent(
            """
            from traitlets import Dict, HasTraits
            class Part(HasTraits):
                parent_header = Dict()
            part = Part()
            part.parent_header
            part._trait_values["parent_header"] = {"msg_id": 1}
            """
        )
    )
    assert kernel.evaluate("part.parent_header") == {"msg_id": 1}
