// Fold each solution, as a notebook folds its cell. `document$` is the theme's observable of the
// pages that are shown.
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
