"""What the extension adds to the start of JupyterLab and Notebook 7, and what its panel costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator

from tests.benchmarks._lab_panel import panel_figures
from tests.benchmarks.kernel import Figure, run_groups
from tests.browser.lab import Lab, NoBrowserError

GOAL = 30.0  # milliseconds
#: Notes when the app has shown itself, by the page's own clock.
NOTE = """
let app;
Object.defineProperty(window, 'jupyterapp', {
    get: () => app,
    set(value) {
        app = value;
        app.restored.then(() => { window.restoredAt = performance.now(); });
    },
});
"""
RESTORED = "() => window.restoredAt"
KNOWN = "() => jupyterapp.hasPlugin('asyncnb:plugin')"


def starts(lab: Lab, app: str, rounds: int) -> Iterator[Figure]:
    """Load the page with and without the extension, in turn; all files are in the cache."""
    package = lab.scratch / "labextensions" / "asyncnb" / "package.json"
    with_it = package.read_text()
    without = json.loads(with_it)
    del without["jupyterlab"]["_build"]  # the server then leaves it out, and one of this name, too
    texts = {"without": json.dumps(without), "asyncnb": with_it}
    times: dict[str, list[float]] = {"without": [], "asyncnb": []}
    cpu: dict[str, list[float]] = {"without": [], "asyncnb": []}
    for number in range(-1, rounds):
        for who in ("without", "asyncnb") if number % 2 else ("asyncnb", "without"):
            package.write_text(texts[who])
            page = lab.blank_page()
            assert lab._context is not None
            lab.call(page.add_init_script(NOTE))
            metrics = lab.call(lab._context.new_cdp_session(page))
            lab.call(metrics.send("Performance.enable"))
            lab.call(page.goto(f"{lab.url}/{app}", wait_until="commit"), 60)
            restored = lab.call(page.wait_for_function(RESTORED, timeout=60_000), 61)
            took = lab.call(restored.json_value())
            found = lab.call(metrics.send("Performance.getMetrics"))["metrics"]
            assert lab.call(page.evaluate(KNOWN)) is (who == "asyncnb")
            lab.call(page.close())
            if number >= 0:  # the first round fills the cache
                times[who].append(took)
                busy = {metric["name"]: metric["value"] for metric in found}
                cpu[who].append(1000 * busy["TaskDuration"])
    package.write_text(with_it)
    name = "JupyterLab" if app == "lab" else "Notebook 7"
    for what, values in ((f"{name} has started", times), (f"{name}, its thread is busy", cpu)):
        pairs = list(zip(values["asyncnb"], values["without"], strict=True))
        more = statistics.median(ours - plain for ours, plain in pairs)
        figure = Figure(what, "ms", values, f"<= {GOAL:g} ms more", more <= GOAL)
        figure.ratios["asyncnb"] = [ours / plain for ours, plain in pairs]
        yield figure
        print(f"{'':<40} {more:+.1f} ms, the median of {rounds} pairs")


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    few = max(5, rounds // 5)
    try:
        lab = Lab()
    except NoBrowserError as error:
        print(f"lab: not measured. {error}")
        return
    try:
        groups = {
            "lab": lambda: starts(lab, "lab", few),
            "notebook": lambda: starts(lab, "tree", few),
            "panel": lambda: panel_figures(lab, few),
        }
        run_groups("lab", groups, rounds, only)
    finally:
        lab.close()
