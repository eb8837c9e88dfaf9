"""Loading touches outside of the package what the page on architecture says, and no more."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kernel.test_unload import LIFE, SNAPSHOT

PAGE = Path(__file__).parents[2] / "notebooks/reference/architecture.md"

# Besides SNAPSHOT: classes of instances, tables that are equal to what they replace, lists of
# callables that the snapshot does not reach.
MORE = """
def touched_snapshot():
    ip = get_ipython(); found = snapshot()
    noise = {"__builtins__", "_thread_to_parent_header"}  # what the rows say; a table by thread
    found = {k: v for k, v in found.items() if k[:1] != ("ip_class",) and not noise & {*k}}
    for name, thing in {"ip": ip, "sys": sys, "display_pub": ip.display_pub,
                        "Gcf.figs": matplotlib._pylab_helpers.Gcf.figs}.items():
        found["class of", name] = type(thing)
    bundles = ip.display_formatter.mimebundle_formatter
    found["displayed", "mime bundles"] = bundles.type_printers | bundles.deferred_printers
    found["hooks", "show_in_pager"] = list(ip.hooks.show_in_pager.chain)
    for name, value in vars(ip.kernel.io_loop.asyncio_loop).items():
        if callable(value):
            found["kernel_loop", name] = value
    return found

def name_of(key):
    if not isinstance(key, tuple):
        return key
    if key[0] == "magic":
        return ("%%" if key[1] == "cell" else "%") + key[2]
    return f"{key[0]}.{key[1]}"

def touched(one, two):
    return {name_of(k) for k in new(one, two)}
"""


def rows(*, older: bool) -> set[str]:
    """Return the names in the table; with ``older`` also those that only older ipykernels have."""
    text = PAGE.read_text(encoding="utf-8").partition("## What loading touches")[2]
    table = re.search(r"\n\|.*?\n\n", text + "\n\n", re.DOTALL)
    assert table is not None, "the table is gone"
    first = [line.split("|")[1] for line in table[0].strip().splitlines()[2:]]
    first = [cell for cell in first if older or "(older" not in cell]
    return {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}


def test_loading_touches_what_the_page_says(start_kernel):
    kernel = start_kernel(extension=False)
    kernel.ok(SNAPSHOT + MORE)
    kernel.ok("%load_ext autoreload\n%unload_ext autoreload")  # IPython's own magics come late
    kernel.ok("%matplotlib inline")

    def live() -> None:
        kernel.ok(LIFE)
        kernel.ok("await asyncio.sleep(0, 1)")
        assert kernel.run("1/0").status == "error"

    live()
    kernel.ok("first = touched_snapshot()")
    live()
    kernel.ok("second = touched_snapshot()")
    kernel.ok(
        "volatile = {k[:2] if isinstance(k, tuple) else k for k in differences(first, second)}"
    )
    # Between the cells, where no display hook and no builtins of IPython's are in place.
    kernel.evaluate("len(globals().setdefault('idle', touched_snapshot()))")
    kernel.ok("%load_ext asyncnb")
    kernel.ok("%%atask job\nawait asyncio.sleep(0)\nprint('spoke')")
    kernel.ok("%tasks wait")
    live()
    kernel.ok("found = sorted(touched(second, touched_snapshot()))")
    between = set(kernel.evaluate("sorted(touched(idle, touched_snapshot()))"))
    found = between | set(kernel.evaluate("found"))
    assert found - rows(older=True) == set(), "loading touches what the page does not say"
    assert rows(older=False) - found == set(), "the page says what loading does not touch"
