"""JupyterLab's panel with the tasks of five real kernels, 2,000 each, which change all the time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import nbformat
import psutil

from tests.benchmarks.kernel import Figure
from tests.browser.lab import DEADLINE, Lab

NOTEBOOKS = 5
TASKS = 2000
SECONDS = 4.0
#: Each task says how far it is every one to eight seconds.
WORK = f"""
%load_ext asyncnb
import asyncio, asyncnb
async def work(number):
    for _ in asyncnb.track(range(10_000)):
        await asyncio.sleep(1 + number % 8)
tasks = [asyncnb.launch(work(number), name=f'task {{number}}') for number in range({TASKS})]
"""
START = """async path => {
    const { commands, serviceManager } = jupyterapp;
    const notebook = await commands.execute('docmanager:open', { path });
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await commands.execute('notebook:run-cell');
    return notebook.sessionContext.session.kernel.id;
}"""
ROWS = """document.querySelectorAll('#asyncnb-panel .asyncnb-viewport [role=row]').length"""
# Milliseconds from the command to the frame with the first row.
SHOW = f"""async () => {{
    const asked = performance.now();
    void jupyterapp.commands.execute('asyncnb:show-panel');
    while (!({ROWS})) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - asked;
}}"""
HIDE = "() => { jupyterapp.shell.collapseLeft(); }"
# Whether rows of so many notebooks are there.
ALL = f"""() => [...document.querySelectorAll('#asyncnb-panel .asyncnb-notebook')]
    .filter(node => node.querySelector('.asyncnb-viewport [role=row]')).length === {NOTEBOOKS}"""
# Frames a second, and the longest wait for one, while the page does what it does.
FRAMES = """seconds => new Promise(done => {
    const began = performance.now();
    let frames = 0, last = began, longest = 0;
    const frame = now => {
        frames++;
        longest = Math.max(longest, now - last);
        last = now;
        if (now - began < 1000 * seconds) requestAnimationFrame(frame);
        else done([frames / ((now - began) / 1000), longest]);
    };
    requestAnimationFrame(frame);
})"""
#: The processes of these kernels, by the connection file that names one.
KERNEL = "kernel-{}.json"


def panel_figures(lab: Lab, rounds: int) -> Iterator[Figure]:
    """Show the panel again and again, and measure the page and the kernels while it is shown."""
    first = lab.open("1")
    page = first._page
    ids = []
    for number in range(NOTEBOOKS):
        cell = nbformat.v4.new_code_cell(WORK.strip())
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": spec})
        nbformat.write(made, lab.folder / f"many{number}.ipynb")
        ids.append(lab.call(page.evaluate(START, f"many{number}.ipynb"), 4 * DEADLINE))
    kernels = [_process(lab, id) for id in ids]
    metrics = lab.call(page.context.new_cdp_session(page))
    lab.call(metrics.send("Performance.enable"))

    def busy() -> float:
        found = lab.call(metrics.send("Performance.getMetrics"))["metrics"]
        return float(next(each["value"] for each in found if each["name"] == "TaskDuration"))

    def measured() -> tuple[list[float], float, float]:
        """Frames, the share of the page's thread that is busy, and that of a core per kernel."""
        began, cpu, thread = time.monotonic(), _cpu(kernels), busy()
        frames = lab.call(page.evaluate(FRAMES, SECONDS), SECONDS + DEADLINE)
        seconds = time.monotonic() - began
        return frames, (busy() - thread) / seconds, (_cpu(kernels) - cpu) / seconds / NOTEBOOKS

    values: dict[str, dict[str, list[float]]] = {
        name: {"hidden": [], "asyncnb": []} for name in ("frames", "longest", "thread", "kernel")
    }
    paints = []
    for _ in range(rounds):
        for who in ("hidden", "asyncnb"):
            if who == "asyncnb":
                paints.append(lab.call(page.evaluate(SHOW), 2 * DEADLINE))
                lab.call(page.wait_for_function(ALL), DEADLINE)
            (fps, longest), thread, kernel = measured()
            found = (fps, longest, 100 * thread, 100 * kernel)
            for name, value in zip(values, found, strict=True):
                values[name][who].append(value)
        lab.call(page.evaluate(HIDE))
    what = f"{NOTEBOOKS} notebooks of {TASKS:,} changing tasks"
    worst = min(values["frames"]["asyncnb"])
    yield Figure(f"{what}: frames", "a second", values["frames"], ">= 50", worst >= 50)
    yield Figure(f"{what}: longest wait for a frame", "ms", values["longest"])
    yield Figure(f"{what}: the page's thread is busy", "%", values["thread"])
    yield Figure(f"{what}: a kernel is busy", "%", values["kernel"])
    yield Figure(f"{what}: first row, module loaded", "ms", {"asyncnb": paints[:1]})
    again = sorted(paints[1:] or paints)
    median = again[len(again) // 2]
    yield Figure(f"{what}: first row", "ms", {"asyncnb": again}, "<= 300 ms", median <= 300)
    first.close("lab-panel-benchmark")
    for session in lab.request("GET", "sessions"):
        if session["path"].startswith("many"):
            lab.request("DELETE", f"sessions/{session['id']}")


def _process(lab: Lab, id: str) -> psutil.Process:
    assert lab._server is not None
    for child in psutil.Process(lab._server.pid).children(recursive=True):
        if any(part.endswith(KERNEL.format(id)) for part in child.cmdline()):
            return child
    raise AssertionError(f"no process of the kernel {id}")


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
