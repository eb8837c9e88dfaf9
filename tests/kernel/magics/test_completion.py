"""Tab in the lines of the magics, as a front end asks for it and as a terminal does."""

from __future__ import annotations

import pytest

from tests.kernel.test_terminal import ipython


@pytest.fixture
def ready(kernel):
    kernel.ok("gate = asyncio.Event()")
    for name in ("alpha", "alpine", "with space"):
        kernel.ok(f"asyncnb.launch(gate.wait(), name={name!r}, group='mountains')")
    kernel.ok("ended = asyncnb.launch(asyncio.sleep(0), name='ended'); ended.join(10)")
    return kernel


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def jedi(request, ready):
    ready.ok(
        f"before = get_ipython().Completer.use_jedi; "
        f"get_ipython().Completer.use_jedi = {request.param}"
    )
    yield ready
    ready.ok("get_ipython().Completer.use_jedi = before")


OFFERED = [
    ("%tasks ca", ["cancel"]),
    ("%tasks st", ["stack"]),
    ("%tasks --f", ["--failed"]),
    ("%tasks alp", ["alpine", "alpha"]),
    ("%tasks stack alp", ["alpine", "alpha"]),
    ("%tasks stack with", ["'with space'"]),
    ("%tasks stack 'with s", ["'with space'"]),
    ("%tasks cancel alpha al", ["alpine", "alpha"]),
    ("%tasks output en", ["ended"]),
    ("%tasks cancel -g m", ["mountains"]),
    ("%tasks cancel --a", ["--all"]),
    ("%tasks rename al", ["alpine", "alpha"]),
    ("%tasks timeout alpha n", ["none"]),
    ("%%atask alp", ["alpine", "alpha"]),
    ("%%atask new --ag", ["--again"]),
    ("%%atask new --again k", ["keep"]),
    ("%%atask new --again=k", ["--again=keep"]),
    ("%%atask new --on th", ["thread"]),
    ("%%atask new --on my_p", ["my_pool"]),
    ("%%atask new -g mou", ["mountains"]),
    ("%%agroup mou", ["mountains"]),
    ("%%agroup g --on-error con", ["continue"]),
    ("%%amap alp", ["alpine", "alpha"]),
    ("%%amap n in [1] --on-error con", ["continue"]),
    ("%%amap n in [1] --lim", ["--limit"]),
    ("%%amap n in [1] --after alpha,alp", ["alpha,alpine", "alpha,alpha"]),
    ("%%amap n in [1] --fol", ["--follow"]),
    ("%%amap n in [1] --on my_p", ["my_pool"]),
    ("%tasks limit alph", ["alpha"]),
    ("%tasks rate alpha no", ["none"]),
    ("%atask --on ker", ["kernel"]),
    ("t = %atask new --wa", ["--wait"]),
    ("%asyncnb rest", ["restart"]),
    ("%asyncnb autoawait o", ["on", "off"]),
    ("%asyncnb option autoa", ["autoawait"]),
]


def test_what_can_follow_is_offered(ready):
    ready.ok("import concurrent.futures as f; my_pool = f.ThreadPoolExecutor(1)")
    wrong = {}
    for line, offered in OFFERED:
        if (found := ready.complete(line)) != offered:
            wrong[line] = found
    assert wrong == {}
    assert not {"ended", "'ended'"} & set(ready.complete("%tasks cancel en"))


def test_nothing_but_ours_is_offered_in_our_lines(jedi):
    matches = jedi.complete("%tasks ")
    assert {"cancel", "wait", "stack", "output", "alpha", "--all"} <= set(matches)
    assert "gate" not in matches and "%%timeit" not in matches
    assert jedi.complete("%tasks stack alp") == ["alpine", "alpha"]


def test_python_is_completed_where_it_may_stand(jedi):
    assert any("gate" in m for m in jedi.complete("%%atask x\ngat"))
    assert any("gate" in m for m in jedi.complete("gat"))
    assert not set(jedi.complete("%tasks = al")) & {"alpha", "alpine"}
    assert "alpha" not in jedi.complete("%%time\n%%atask al")


def test_an_expression_is_completed_after_atask(ready):
    # Without jedi, which does not read the lines of magics at all.
    ready.ok("c = get_ipython().Completer; before, c.use_jedi = c.use_jedi, False")
    try:
        assert "gate" in ready.complete("%atask gat")
        assert "gate" in ready.complete("t = %atask new gat")
    finally:
        ready.ok("c.use_jedi = before")


def test_many_names_are_cut_to_what_can_be_shown(kernel):
    kernel.ok("for n in range(1000): asyncnb.launch(asyncio.Event().wait(), name=f'many-{n}')")
    matches = kernel.complete("%tasks stack many-")
    assert len(matches) == 500 and matches[0] == "many-999"


def test_unloading_takes_the_completion_away(start_kernel):
    kernel = start_kernel()
    kernel.ok("%unload_ext asyncnb")
    assert "cancel" not in kernel.complete("%tasks ca")
    assert kernel.evaluate("get_ipython().Completer.custom_matchers") == []


def test_a_terminal_completes_too(python, tmp_path):
    shown = ipython(
        python,
        tmp_path,
        "%load_ext asyncnb",
        "get_ipython().complete('', '%tasks canc', 11)",
        "get_ipython().complete('', '%%atask x --again re', 20)",
    )
    assert "['cancel']" in shown and "['replace']" in shown
