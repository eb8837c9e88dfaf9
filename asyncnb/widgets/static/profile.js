// A profile: its summary, and flame graphs with zoom and search. It shares its scope with format.js
// (see _static.py).

const FLAME_ROW = 20; // height of a row
const FLAME_LEAST = 0.0015; // boxes narrower than this share of the width are left out
const FLAME_BOXES = 3000;

/** Return the exact numbers of a box, as text. */
function flameTitle(node, total) {
  const share = total ? (100 * node.s) / total : 0;
  const head = `${node.n}: ${share.toFixed(1)} %, ${node.s.toPrecision(3)} s`;
  return node.t && !node.n.includes(node.t) ? `${head}\n${node.t}` : head;
}

/** Return whether a box is one that the search is for. */
const flameFits = (node, words) => node.n.toLowerCase().includes(words) || (node.t ?? "").toLowerCase().includes(words);

/** Return the seconds of all boxes that fit, each second once. */
function flameSeconds(node, words) {
  if (flameFits(node, words)) return node.s;
  return (node.c ?? []).reduce((sum, child) => sum + flameSeconds(child, words), 0);
}

/** Show a profile in `el`: `text`, and `panels` of a head, the root of a tree and its total. */
function mountProfile(el, { text, panels }) {
  let words = "";
  const paths = panels.map((panel) => [panel.root]); // the box that is zoomed to, with those above it
  const find = h("input", { type: "search", class: "asyncnb-fg-find", placeholder: "Find", "aria-label": "Find in flame graphs", spellcheck: "false", autocomplete: "off", on: { input: search } });
  const found = h("span", { class: "asyncnb-fg-found", role: "status" });
  const whole = h("button", { type: "button", class: "asyncnb-fg-button", "aria-label": "Show all of the flame graphs", text: "Fit", on: { click: fit } });
  const graphs = panels.map((panel) => h("div", { class: "asyncnb-fg-graph", role: "group", "aria-label": panel.head }));
  const sections = panels.flatMap((panel, i) => [h("div", { class: "asyncnb-fg-head", text: panel.head }), graphs[i]]);
  const tools = h("div", { class: "asyncnb-fg-tools", hidden: panels.length ? null : "" }, find, whole, found);
  const root = h("div", { class: "asyncnb-fg", "data-lm-suppress-shortcuts": "true" }, h("pre", { class: "asyncnb-fg-text", text }), tools, ...sections);
  el.replaceChildren(root);

  function search() {
    words = find.value.trim().toLowerCase();
    paint();
    if (!words) return setText(found, "");
    const shares = panels.map((panel) => {
      const share = panel.total ? (100 * flameSeconds(panel.root, words)) / panel.total : 0;
      return `${share.toFixed(1)} % ${panel.kind}`;
    });
    setText(found, shares.join(", "));
  }

  function fit() {
    panels.forEach((panel, i) => (paths[i] = [panel.root]));
    paint();
  }

  function zoom(i, path, key) {
    paths[i] = path;
    paint();
    const boxes = [...graphs[i].children];
    (boxes[path.length - 1] ?? boxes[0])?.focus({ preventScroll: !key });
  }

  function box(i, path, depth, left, width) {
    const node = path.at(-1);
    const title = flameTitle(node, panels[i].total);
    const above = depth < paths[i].length - 1;
    const fits = words && flameFits(node, words);
    const name = `asyncnb-fg-box${above ? " asyncnb-fg-above" : ""}${fits ? " asyncnb-fg-fits" : ""}`;
    const made = h("button", { type: "button", class: name, title, "aria-label": title, text: node.n, on: { click: (event) => zoom(i, path, event.detail === 0) } });
    made.style.left = `${100 * left}%`;
    made.style.width = `${100 * width}%`;
    made.style.top = `${FLAME_ROW * depth}px`;
    made.style.backgroundColor = node.f;
    return made;
  }

  function paintOne(i) {
    const path = paths[i];
    const made = path.map((_, depth) => box(i, path.slice(0, depth + 1), depth, 0, 1));
    let deepest = path.length - 1;
    const todo = [{ path, depth: path.length - 1, left: 0, width: 1 }];
    for (const each of todo) {
      const node = each.path.at(-1);
      let left = each.left;
      for (const child of node.c ?? []) {
        const width = node.s ? (each.width * child.s) / node.s : 0;
        if (width >= FLAME_LEAST && made.length < FLAME_BOXES) {
          const below = [...each.path, child];
          made.push(box(i, below, each.depth + 1, left, width));
          todo.push({ path: below, depth: each.depth + 1, left, width });
          deepest = Math.max(deepest, each.depth + 1);
        }
        left += width;
      }
    }
    graphs[i].replaceChildren(...made);
    graphs[i].style.height = `${FLAME_ROW * (deepest + 1)}px`;
  }

  function paint() {
    panels.forEach((_, i) => paintOne(i));
    whole.disabled = paths.every((path) => path.length === 1);
  }

  function keys(event) {
    if (event.key === "Escape" && find.value) {
      find.value = "";
      search();
    } else if (event.key === "Escape") fit();
    else return;
    event.stopPropagation();
  }

  root.addEventListener("keydown", keys);
  paint();
  return { destroy: () => root.remove() };
}
