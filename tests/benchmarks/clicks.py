"""A click on cancel in the dashboard while a cell blocks the kernel, in real front ends."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from tests.benchmarks.kernel import Figure, run_groups
from tests.benchmarks.requests import BLOCKERS, LOAD
from tests.browser.lab import Lab, NoBrowserError, Notebook

# The moment of the click, and that of the frame in which the row says so, by the page's clock.
CLICK = """async () => {
    const row = [...document.querySelectorAll('[role=grid][aria-label=Tasks] [role=row]')]
        .find(row => row.getAttribute('aria-label') === 'patient');
    const shows = new Promise(done => {
        const look = () => row.textContent.includes('cancelled')
            ? done(Date.now()) : requestAnimationFrame(look);
        requestAnimationFrame(look);
    });
    const clicked = Date.now();
    row.querySelector('[aria-label="Cancel patient"]').click();
    return [clicked, await shows];
}"""


def clicks(lab: Lab, app: str, subshells: bool, rounds: int) -> Iterator[Figure]:
    where = "Notebook 7" if app == "notebook" else f"Lab, subshells {'on' if subshells else 'off'}"
    cells = [
        LOAD,
        "%tasks live",
        "asyncnb.launch(patient(), name='patient');",
        "%tasks clear",
        "print(struck.pop())",
        *BLOCKERS.values(),
    ]
    notebook: Notebook = lab.open(*cells, app=app)
    notebook.use_subshells(subshells)
    notebook.run(0)
    notebook.run(1)
    go = notebook.path.parent / "go"
    for number, blocker in enumerate(BLOCKERS):
        to_loop, to_row = [], []
        for _ in range(rounds):
            notebook.run(2)
            notebook.see_row("patient", "waiting")
            notebook.submit(5 + number)
            notebook.ask("() => new Promise(done => setTimeout(done, 400))")  # it blocks by then
            clicked, shown = notebook.ask(CLICK)
            go.touch()
            notebook.wait(5 + number)
            go.unlink()
            notebook.run(4)
            to_loop.append(float(notebook.text(4)) - clicked)
            to_row.append(shown - clicked)
            notebook.run(3)
        for name, values, most in (("to the loop", to_loop, 100), ("to the row", to_row, 500)):
            yield Figure(
                f"click {name}, {blocker}, {where}", "ms", {"asyncnb": values},
                f"<= {most} ms", statistics.median(values) <= most,
            )  # fmt: skip
    notebook.close("clicks")


def run(rounds: int, only: str = "") -> None:
    """Measure, print and write the topic; ``only`` is a part of the name of a group of figures."""
    few = max(5, rounds // 10)
    try:
        lab = Lab()
    except NoBrowserError as error:
        print(f"clicks: not measured. {error}")
        return
    try:
        groups = {
            "lab with subshells": lambda: clicks(lab, "lab", True, few),
            "lab without subshells": lambda: clicks(lab, "lab", False, few),
            "notebook": lambda: clicks(lab, "notebook", True, few),
        }
        run_groups("clicks", groups, rounds, only)
    finally:
        lab.close()
