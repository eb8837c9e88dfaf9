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

// In a search, a hyphen in front of a word excludes it, so `--retry` would find nothing. In the index,
// options have another kind of hyphen (search_index.py), and so they have in what the theme reads from
// the field; what you have typed stays as it is.
const OPTION = /(^|\s)--[a-z]+(?:-[a-z]+)*(?![\w-])/g;
const typed = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
for (const field of document.querySelectorAll("[data-md-component=search-query]")) {
  Object.defineProperty(field, "value", {
    ...typed,
    get() {
      return typed.get
        .call(this)
        .replace(OPTION, (option) => option.replaceAll("-", "\u2010"))
        .replace(/(^|\s)-+(?=\w)/g, "$1")
        .replace(/(^|\s)[^\w\s"]+(?=\s|$)/g, "$1"); // `[*]` would match every page
    },
  });
}
