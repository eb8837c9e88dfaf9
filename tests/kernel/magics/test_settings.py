"""Options: `%asyncnb option`, traitlets config and environment, in that order."""

from __future__ import annotations

import types
from typing import Any

import pytest
from IPython.core.error import UsageError
from traitlets import TraitError
from traitlets.config import Config

from asyncnb._kernel.magics.settings import (
    SIZE,
    SWITCH,
    Option,
    Settings,
    amount,
    one_of,
    whole_number,
)

NAMES = (
    "autoawait",
    "one_loop",
    "loop",
    "watchdog",
    "deadlocks",
    "history",
    "results",
    "frames",
    "output_tail",
    "shutdown",
    "tasks_json",
    "progress_interval",
    "dashboard_rate",
    "notify",
    "notify_after",
    "keep_alive",
    "leaks",
    "late_items",
    "record",
    "offload_limit",
)


class Shell(types.SimpleNamespace):
    """What of a shell the options know."""

    def __init__(self, **section: Any) -> None:
        config = Config({"AsyncNB": section}) if section else Config()
        super().__init__(config=config, configurables=[])


def settings(shell: Shell, log: list[Any] | None = None) -> Settings:
    log = [] if log is None else log
    found = Settings(
        shell,
        [
            Option("flag", True, SWITCH, "a switch", lambda v: log.append(("flag", v))),
            Option("most", 10, whole_number(1), "a number", lambda v: log.append(("most", v))),
            Option("pace", 0.5, amount("seconds", highest=60, off=True), "a pace"),
            Option("size", 10**6, SIZE, "a size"),
            Option("kind", "a", one_of("a", "b"), "a kind", fixed="it is fixed"),
        ],
    )
    found.install()
    return found


def test_a_default_is_not_applied_and_has_no_source():
    log: list[Any] = []
    found = settings(Shell(), log)
    assert log == []
    assert [found[name] for name in found.options] == [True, 10, 0.5, 10**6, "a"]
    assert found.source("most") == "default"
    assert found.changed() == []


def test_setting_stands_above_config_above_environment_above_default(monkeypatch):
    monkeypatch.setenv("ASYNCNB_MOST", "3")
    monkeypatch.setenv("ASYNCNB_FLAG", "off")
    log: list[Any] = []
    found = settings(Shell(most=5), log)
    assert (found["most"], found.source("most")) == (5, "config")
    assert (found["flag"], found.source("flag")) == (False, "environment")
    found.set("most", "7")
    assert (found["most"], found.source("most")) == (7, "set")
    assert log == [("flag", False), ("most", 5), ("most", 7)]
    assert found.changed() == ["flag=off", "most=7"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flag", "perhaps"),
        ("flag", ""),
        ("most", "0"),
        ("most", "1.5"),
        ("most", "many"),
        ("most", "inf"),
        ("pace", "-1"),
        ("pace", "nan"),
        ("pace", "61"),
        ("size", "0"),
        ("size", "2 XB"),
        ("size", "-1"),
        ("kind", "c"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(name, text):
    log: list[Any] = []
    found = settings(Shell(), log)
    before = found[name]
    with pytest.raises(UsageError, match=f"option {name} takes .*not '{text}'"):
        found.set(name, text)
    with pytest.raises(TraitError, match=f"AsyncNB.{name} takes"):
        setattr(found.traits, name, text)
    assert found[name] == before
    assert found.source(name) == "default"
    assert log == []


@pytest.mark.parametrize(
    ("text", "size", "written"),
    [("500000", 500_000, "500kB"), ("1.5 GB", 1_500_000_000, "1500MB"), ("1kib", 1024, "1024")],
)
def test_a_size_is_read_with_its_unit_and_written_so_that_it_is_read_again(text, size, written):
    found = settings(Shell())
    found.set("size", text)
    assert (found["size"], found.written("size")) == (size, written)
    found.set("size", written)
    assert found["size"] == size


def test_an_unknown_name_and_a_fixed_option_are_refused():
    found = settings(Shell())
    with pytest.raises(UsageError, match="Did you mean 'most'"):
        found.set("msot", "3")
    with pytest.raises(UsageError, match="it is fixed"):
        found.set("kind", "b")
    found.set("kind", "a")  # as it is


def test_bad_config_and_environment_are_told_in_one_sentence_and_the_next_best_is_taken(
    monkeypatch, capsys
):
    monkeypatch.setenv("ASYNCNB_MOST", "4")
    monkeypatch.setenv("ASYNCNB_PACE", "fast")
    found = settings(Shell(most=[1], flga=True, kind="b"))
    said = capsys.readouterr().err.splitlines()
    assert found["most"] == 4
    assert found["pace"] == 0.5
    assert said == [
        "asyncnb: c.AsyncNB.most takes a whole number, 1 or more, not [1].",
        "asyncnb: ASYNCNB_PACE takes seconds, 0 to 60, or off, not 'fast'.",
        "asyncnb: c.AsyncNB.kind: it is fixed",
        "asyncnb: c.AsyncNB: no option named 'flga'. Did you mean 'flag'?",
    ]


def test_uninstall_puts_the_defaults_back_in_effect():
    log: list[Any] = []
    shell = Shell(most=5)
    found = settings(shell, log)
    assert shell.configurables == [found.traits]
    found.uninstall()
    assert log == [("most", 5), ("most", 10)]
    assert shell.configurables == []


def test_the_table_says_it_as_text_and_as_html():
    found = settings(Shell(pace=0))
    assert "pace    off    0.5      config" in repr(found.table())
    assert "<td" in found.table("pace")._repr_html_()


def test_options_in_a_kernel(kernel):
    shown = kernel.ok("%asyncnb option")
    assert [line.split()[0] for line in shown.result.splitlines()[1:]] == list(NAMES)
    kernel.ok("%asyncnb option watchdog off")
    assert "watchdog  off" in kernel.ok("%asyncnb option watchdog").result
    assert kernel.evaluate("asyncnb.embedded_loop().watchdog") is None
    assert "watchdog" in " ".join(kernel.complete("%asyncnb option wat"))
    kernel.ok("%config AsyncNB.watchdog = 0.25")
    assert kernel.evaluate("asyncnb.embedded_loop().watchdog.threshold") == 0.25
    kernel.ok("%asyncnb option autoawait off")
    here = "await asyncio.sleep(0); threading.current_thread() is threading.main_thread()"
    assert kernel.ok(here).result == "True"
    status = kernel.ok("%asyncnb")
    kernel.drain()
    assert "autoawait=off" in status.stdout and "watchdog=0.25" in status.stdout
    kernel.ok("%asyncnb autoawait on")
    assert kernel.ok(here).result == "False"
    kernel.ok("%asyncnb option history 2\nfor _ in range(5): asyncnb.launch(asyncio.sleep(0))")
    kernel.ok("%tasks wait")
    assert kernel.evaluate("len(asyncnb.tasks())") == 2
    for name, default in (("history", 1000), ("watchdog", 0.3)):
        kernel.ok(f"%asyncnb option {name} {default}")
    for line in ("option histroy 3", "option history", "option history x", "option a b c d"):
        bad = kernel.run(f"%asyncnb {line}")
        assert (bad.error is not None and bad.error.ename == "UsageError") == (
            line != "option history"
        )
    bad = kernel.run("%asyncnb optoin")
    assert "option" in bad.text


def test_config_and_environment_reach_a_kernel(start_kernel):
    kernel = start_kernel(
        arguments=["--AsyncNB.history=7", "--AsyncNB.autoawait=False"],
        env={"ASYNCNB_OUTPUT_TAIL": "100", "ASYNCNB_SHUTDOWN": "long", "ASYNCNB_HISTORY": "8"},
        extension=False,
    )
    cell = kernel.ok("%load_ext asyncnb\nimport asyncio, asyncnb, threading")
    kernel.drain()
    assert cell.stderr == "asyncnb: ASYNCNB_SHUTDOWN takes seconds, 0 to 60, not 'long'.\n"
    shown = kernel.ok("%asyncnb option").result
    lines = {line.split()[0]: line.split()[1:4] for line in shown.splitlines()}
    assert lines["history"] == ["7", "1000", "config"]
    assert lines["autoawait"] == ["off", "on", "config"]
    assert lines["output_tail"] == ["100", "200000", "environment"]
    kernel.ok("%%atask talk\nfor _ in range(100): print('x' * 9)")
    kernel.ok("%tasks wait")
    assert len(kernel.evaluate("asyncnb.task('talk').output")) <= 100


def test_a_fixed_option_stays_whichever_way_it_is_set(monkeypatch):
    monkeypatch.setenv("ASYNCNB_KIND", "b")
    log: list[Any] = []
    found = settings(Shell(), log)
    assert (found["kind"], found.source("kind")) == ("b", "environment")  # at load it is free
    with pytest.raises(UsageError, match="%asyncnb option kind: it is fixed"):
        found.set("kind", "a")
    with pytest.raises(TraitError, match=r"AsyncNB\.kind: it is fixed"):
        found.traits.kind = "a"
    with pytest.raises(TraitError, match="it is fixed"):
        found.traits.update_config(Config({"AsyncNB": {"kind": "a"}}))  # as %config does
    assert (found["kind"], found.source("kind")) == ("b", "environment")
    found.traits.update_config(Config({"AsyncNB": {"most": 7}}))  # what was refused is not kept
    assert (found["most"], found["kind"]) == (7, "b")
    found.uninstall()


@pytest.mark.parametrize("set_it", ["%asyncnb option {} {}", "%config AsyncNB.{} = {!r}"])
def test_each_option_that_is_chosen_at_import_says_so_both_ways(fresh_kernel, set_it):
    fixed = fresh_kernel.evaluate(
        "[(o.name, o.kind.words) for o in asyncnb._extension._loaded.settings.options.values()"
        " if o.fixed]"
    )
    assert fixed
    for name, words in fixed:
        read = f"asyncnb._extension._loaded.settings[{name!r}]"
        before = fresh_kernel.evaluate(read)
        cell = fresh_kernel.run(set_it.format(name, next(w for w in words if w != before)))
        said = cell.text + cell.stderr + (cell.error.evalue if cell.error else "")
        assert "ASYNCNB_LOOP in the kernel's environment" in " ".join(said.split())
        assert fresh_kernel.evaluate(read) == before
    assert (
        "set" not in fresh_kernel.ok("%asyncnb option loop").result.split("loop", 1)[1].split()[:3]
    )
