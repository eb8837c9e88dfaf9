// A solution is there when it is asked for, as in a notebook whose cell is folded. `document$` is
// the theme's: each page that is shown.
document$.subscribe(() => {
  for (const cell of document.querySelectorAll(".celltag_solution:not(.celltag_solution *)")) {
    const summary = Object.assign(document.createElement("summary"), {
      textContent: "A solution",
    });
    const details = Object.assign(document.createElement("details"), { className: "solution" });
    cell.replaceWith(details);
    details.append(summary, cell);
  }
});
