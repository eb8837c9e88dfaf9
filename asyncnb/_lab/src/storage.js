// What the browser remembers from one visit to the next, in both modules of the extension.

/** The value of a key, or `otherwise`: the storage may be off, or hold anything. */
function recall(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // It is off or full: the value is known until the page is left.
  }
}
