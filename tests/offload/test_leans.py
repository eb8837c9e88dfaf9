"""What asyncnb relies on in the packages that run work elsewhere, and in anyio and uvloop.

The other tests here use real clusters; these name what is missing when one of them fails.
"""

from __future__ import annotations

import inspect

import pytest

from tests.leans import ELSEWHERE, Lean


@pytest.mark.parametrize("lean", ELSEWHERE, ids=lambda lean: lean.name)
def test_the_package_has(lean: Lean) -> None:
    pytest.importorskip(lean.name.partition(".")[0])
    try:
        holds = eval(lean.holds)
    except AttributeError as exc:
        raise AssertionError(lean.complaint()) from exc
    assert holds, lean.complaint()


def test_cloudpickle_lists_the_modules_that_it_pickles_by_value() -> None:
    import cloudpickle

    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_dask_calls_its_plugins_with_the_expected_arguments() -> None:
    pytest.importorskip("distributed")
    from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

    parameters = inspect.signature(SchedulerPlugin.update_graph).parameters
    assert parameters["keys"].kind is parameters["keys"].KEYWORD_ONLY
    assert list(inspect.signature(WorkerPlugin.transition).parameters)[:4] == [
        "self", "key", "start", "finish",
    ]  # fmt: skip


def test_dask_has_what_prevents_a_task_from_running_twice() -> None:
    pytest.importorskip("distributed")
    from distributed.scheduler import Scheduler, TaskState, WorkerState

    assert "suspicious" in TaskState.__slots__
    assert isinstance(inspect.getattr_static(WorkerState, "processing", None), object)
    assert "allowed_failures" in Scheduler.__init__.__code__.co_names


def test_dask_workers_have_the_states_in_which_a_function_runs() -> None:
    pytest.importorskip("distributed")
    from typing import get_args

    from distributed import Status, Worker
    from distributed.worker_state_machine import TaskStateState, WorkerState

    states = set(get_args(TaskStateState))
    assert {"executing", "long-running", "cancelled", "released"} <= states
    assert Status.paused
    assert callable(Worker.log_event)
    assert "active_threads" in Worker.__init__.__code__.co_names
    assert "executing" in WorkerState.__init__.__code__.co_names


def test_a_dask_client_accepts_the_arguments_used() -> None:
    distributed = pytest.importorskip("distributed")
    for name, wanted in {
        "submit": {"key", "pure", "retries"},
        "map": {"key", "pure", "retries"},
        "cancel": {"force"},
        "run": {"workers", "on_error"},
        "run_on_scheduler": set(),
        "register_plugin": set(),
        "subscribe_topic": {"topic", "handler"},
    }.items():
        parameters = inspect.signature(getattr(distributed.Client, name)).parameters
        assert wanted <= set(parameters), name


def test_an_ipyparallel_result_has_the_output_so_far() -> None:
    ipyparallel = pytest.importorskip("ipyparallel")
    from ipyparallel.client.client import ExecuteReply, Metadata
    from ipyparallel.client.futures import MessageFuture
    from ipyparallel.engine.datapub import publish_data

    assert callable(publish_data)
    assert {"engine_id", "stdout", "stderr", "outputs", "data"} <= set(Metadata())
    assert "metadata" in ExecuteReply.__init__.__code__.co_varnames
    assert "iopub_callbacks" in MessageFuture.__init__.__code__.co_names
    for name in ("send_signal", "abort", "purge_local_results", "load_balanced_view"):
        assert callable(getattr(ipyparallel.Client, name))
