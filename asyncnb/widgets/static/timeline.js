// The timeline: a row for each task with what it did over time, with zoom and search. It shares its
// scope with format.js (see _static.py). The line below describes in words what is under the pointer.

const LINE = 24; // height of a row
const GUTTER = 170; // width of the names, where there is room
const AXIS = 22;
/** Make an SVG element; text is never markup. */
function s(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

/**
 * Show a timeline in `el`. `update(data)` takes what compact() in _timeline_facts.py returns;
 * `onRequest()`, if given, is called when the user asks for the current state.
 */
function mountTimeline(el, { onRequest = null } = {}) {
  let data = { rows: [], edges: [], end: 0, notes: [], legend: { bars: {}, ends: {}, marks: {}, arrow: "" } };
  let rows = [];
  let from = 0;
  let to = 1;
  let fitted = true; // shows everything, also after an update
  let active = null; // id of the row that is described
  let frame = 0;
  const find = h("input", { type: "search", class: "asyncnb-tl-find", placeholder: "Find", "aria-label": "Find in timeline", spellcheck: "false", autocomplete: "off" });
  const button = (label, text, act) => h("button", { type: "button", class: "asyncnb-tl-button", "aria-label": label, title: label, text, on: { click: act } });
  const total = h("span", { class: "asyncnb-tl-count" });
  const tools = h("div", { class: "asyncnb-tl-tools" }, find, total, button("Zoom in", "+", () => zoom(0.5)), button("Zoom out", "−", () => zoom(2)), button("Show all", "Fit", fit));
  if (onRequest) tools.append(button("Refresh timeline", "Refresh", () => onRequest()));
  const axis = s("svg", { class: "asyncnb-tl-axis", height: AXIS, "aria-hidden": "true" });
  const picture = s("svg", { class: "asyncnb-tl-picture", "aria-hidden": "true" });
  const spacer = h("div", { class: "asyncnb-tl-spacer" }, picture);
  const list = h("div", { class: "asyncnb-tl-scroll", tabindex: 0, role: "application", "aria-roledescription": "timeline", "aria-label": "Timeline", "aria-keyshortcuts": "+ - 0 ArrowLeft ArrowRight ArrowUp ArrowDown" }, spacer);
  const description = h("div", { class: "asyncnb-tl-description", role: "status" });
  const legend = h("div", { class: "asyncnb-tl-legend" });
  const note = h("p", { class: "asyncnb-tl-note", hidden: "" });
  const root = h("div", { class: "asyncnb-tl", "data-lm-suppress-shortcuts": "true" }, tools, axis, list, description, legend, note);
  el.replaceChildren(root);

  let gutter = GUTTER;
  const plot = () => Math.max(60, list.clientWidth - gutter - 16);
  const x = (when) => gutter + ((when - from) / (to - from)) * plot();
  const timeAt = (px) => from + ((px - gutter) / plot()) * (to - from);
  const byId = () => new Map(data.rows.map((row) => [row.id, row]));

  function soon() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      paint();
    });
  }

  function fit() {
    fitted = true;
    from = 0;
    to = data.end > 0 ? data.end * 1.02 : 1;
    soon();
  }

  function view(newFrom, newTo) {
    const whole = data.end > 0 ? data.end * 1.02 : 1;
    const wide = Math.min(whole, Math.max(1e-6, newTo - newFrom));
    from = Math.min(Math.max(0, newFrom), whole - wide);
    to = from + wide;
    fitted = wide >= whole;
    soon();
  }

  /** Make the time shown `factor` times as long, around the moment `at`. */
  function zoom(factor, at = (from + to) / 2) {
    view(at - (at - from) * factor, at + (to - at) * factor);
  }

  function filter() {
    const text = find.value.trim().toLowerCase();
    rows = data.rows.filter((row) => !text || `${row.name}\n${row.group ?? ""}\n${row.state}\n${row.cell}`.toLowerCase().includes(text));
    setText(total, text ? `${rows.length} of ${data.rows.length}` : count(data.rows.length, "task"));
    spacer.style.height = `${rows.length * LINE}px`;
    soon();
  }

  function paint() {
    const wide = list.clientWidth;
    if (!wide) return;
    gutter = Math.min(GUTTER, Math.floor(wide * 0.4));
    const top = list.scrollTop;
    const first = Math.max(0, Math.floor(top / LINE) - 1);
    const shown = rows.slice(first, first + Math.ceil(list.clientHeight / LINE) + 3);
    picture.setAttribute("width", wide);
    picture.setAttribute("height", Math.max(1, shown.length * LINE));
    picture.style.transform = `translateY(${first * LINE}px)`;
    const parts = paintAxis(wide, shown.length * LINE);
    const used = { kinds: new Set(), ends: new Set(), marks: new Set() };
    const places = new Map(shown.map((row, i) => [row.id, i * LINE + LINE / 2]));
    for (const [i, row] of shown.entries()) parts.push(...paintRow(row, i * LINE + LINE / 2, used));
    parts.push(...paintEdges(places, used));
    // Covers what has scrolled out to the left, below the names.
    const names = s("rect", { class: "asyncnb-tl-ground", x: 0, y: 0, width: gutter - 6, height: shown.length * LINE });
    const labels = shown.map((row, i) => {
      const label = s("text", { class: row.id === active ? "asyncnb-tl-name asyncnb-tl-active" : "asyncnb-tl-name", x: 8 + 12 * Math.min(row.depth, 5), y: i * LINE + LINE / 2 + 4 }, row.name.slice(0, 200));
      label.setAttribute("clip-path", "inset(0)");
      if (row.sampled) label.asyncnbTitle = `${row.name}, sampled: seen ${seen(row)}`;
      return label;
    });
    picture.replaceChildren(...parts, names, ...labels);
    for (const label of labels) {
      shorten(label);
      if (label.asyncnbTitle) label.append(s("title", {}, label.asyncnbTitle));
    }
    paintLegend(used);
    if (active === null) setText(description, "");
  }

  const seen = (row) => `from ${duration(row.created, 2)} to ${duration(row.ended ?? data.end, 2)}`;

  /** Shorten a name that reaches into the plot. */
  function shorten(label) {
    const room = gutter - 12 - Number(label.getAttribute("x"));
    const text = label.textContent;
    if (text.length * 9 < room || label.getComputedTextLength() <= room) return;
    const fits = Math.max(1, Math.floor((text.length * room) / label.getComputedTextLength()) - 1);
    label.textContent = `${text.slice(0, fits)}…`;
  }

  function paintAxis(wide, height) {
    axis.setAttribute("width", wide);
    const step = niceStep((to - from) / Math.max(2, plot() / 90));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / 10 ** Math.floor(Math.log10(step) + 1e-9) === 2.5 ? 1 : 0));
    const labels = [];
    let grid = "";
    for (let n = Math.ceil(from / step - 1e-9); n * step <= to; n++) {
      const px = x(n * step);
      if (px > wide - 8) break;
      grid += `M${px.toFixed(1)} 0V${height}`;
      labels.push(s("text", { x: px, y: 14, "text-anchor": "middle" }, `${(n * step).toFixed(Math.min(9, digits))}${labels.length ? "" : " s"}`));
    }
    axis.replaceChildren(...labels);
    return [s("path", { class: "asyncnb-tl-grid", d: grid })];
  }

  function niceStep(least) {
    const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
    return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= least) ?? power * 10;
  }

  function paintRow(row, y, used) {
    const d = {};
    const pen = {};
    for (const [kind, start, stop] of row.bars) {
      if (stop < from || start > to) continue;
      const left = Math.max(x(start), gutter - 2);
      let right = Math.min(x(stop), gutter + plot() + 10);
      if (kind === "run") right = Math.max(right, left + 1.5); // steps take microseconds, but must be visible
      if (right - left < 0.3) continue;
      used.kinds.add(kind);
      if (pen[kind] >= left - 0.4) {
        // Too close to distinguish: extend the bar that was drawn last.
        if (right > pen[kind]) {
          d[kind] = `${d[kind].slice(0, d[kind].lastIndexOf("H"))}H${right.toFixed(1)}`;
          pen[kind] = right;
        }
      } else {
        d[kind] = `${d[kind] ?? ""}M${left.toFixed(1)} ${y}H${right.toFixed(1)}`;
        pen[kind] = right;
      }
    }
    const parts = [];
    if (row.id === active) parts.push(s("rect", { class: "asyncnb-tl-band", x: 0, y: y - LINE / 2, width: list.clientWidth, height: LINE }));
    for (const [kind, bar] of Object.entries(data.legend.bars)) if (d[kind]) parts.push(stroke(kind, bar, d[kind]));
    for (const [when, what] of row.events) {
      if (what === "on" || when < from || when > to) continue;
      used.marks.add(what);
      parts.push(s("path", { class: `asyncnb-tl-mark-${what}`, d: `M${(x(when) - 4).toFixed(1)} ${y - 11}h8l-4 6z` }));
    }
    const until = row.ended ?? data.end;
    const { ends } = data.legend;
    const { end } = row;
    if (until >= from && until <= to && end in ends) { // how a sampled task has ended may be unknown
      used.ends.add(end);
      parts.push(s("path", { class: `asyncnb-tl-end asyncnb-tl-end-${end.replace(" ", "-")}`, d: `M${(x(until) + 6).toFixed(1)} ${y}${ends[end].path}` }));
    }
    return parts;
  }

  function stroke(kind, { width, dashes }, d) {
    const path = s("path", { class: `asyncnb-tl-${kind}`, d, "stroke-width": width });
    if (dashes) path.setAttribute("stroke-dasharray", dashes);
    return path;
  }

  function paintEdges(places, used) {
    let d = "";
    let heads = "";
    for (const [source, target, when] of data.edges) {
      const start = places.get(source);
      const end = places.get(target);
      if (when === null || start === undefined || end === undefined || when < from || when > to) continue;
      const way = end > start ? 1 : -1;
      d += `M${x(when).toFixed(1)} ${start}V${end - way * 8}`;
      heads += `M${(x(when) - 3).toFixed(1)} ${end - way * 11}h6l-3 ${way * 5}z`;
    }
    if (d) used.marks.add("edge");
    return d ? [s("path", { class: "asyncnb-tl-edge", d }), s("path", { class: "asyncnb-tl-head", d: heads })] : [];
  }

  function paintLegend({ kinds, ends, marks }) {
    const key = [...kinds, "|", ...ends, "|", ...marks].join();
    if (legend.asyncnbKey === key) return;
    legend.asyncnbKey = key;
    const entry = (path, word) => {
      const sample = s("svg", { width: 22, height: 16, "aria-hidden": "true" });
      sample.append(path);
      return h("span", { class: "asyncnb-tl-entry" }, sample, word);
    };
    const entries = [];
    const known = data.legend;
    for (const [kind, bar] of Object.entries(known.bars)) if (kinds.has(kind)) entries.push(entry(stroke(kind, bar, "M1 8H20"), bar.word));
    for (const [end, { word, path }] of Object.entries(known.ends))
      if (ends.has(end)) entries.push(entry(s("path", { class: `asyncnb-tl-end asyncnb-tl-end-${end.replace(" ", "-")}`, d: `M11 8${path}` }), word));
    for (const [what, word] of Object.entries(known.marks))
      if (marks.has(what)) entries.push(entry(s("path", { class: `asyncnb-tl-mark-${what}`, d: "M7 5h8l-4 6z" }), word));
    if (marks.has("edge")) entries.push(entry(s("path", { class: "asyncnb-tl-head", d: "M10.5 1h1v7h3l-3.5 5l-3.5 -5h3z" }), known.arrow));
    legend.replaceChildren(...entries);
  }

  // What is under the pointer, or chosen by keys, in words

  function describe(row, when = null) {
    if (!row) return setText(description, "");
    const parts = [row.name, row.state];
    if (row.sampled) parts.push(`sampled: seen ${seen(row)}`);
    else if (row.ended !== null && row.started !== null) parts.push(`took ${duration(row.ended - row.started, 2)}`);
    if (row.group) parts.push(`group ${row.group}`);
    if (row.cell) parts.push(row.cell);
    if (row.recorded) parts.push(`${count(row.steps, "step")}, ${duration(row.seconds, 2)} on the loop`);
    const names = byId();
    if (when !== null) {
      const slack = (to - from) / plot();
      const mark = row.events.find(([at, what]) => what !== "on" && Math.abs(at - when) < 4 * slack);
      const wait = row.waits.find(([start, stop]) => start <= when && when <= stop);
      const run = row.bars.find(([kind, start, stop]) => kind === "run" && start - slack <= when && when <= stop + slack);
      if (mark) parts.push(`${data.legend.marks[mark[1]]} at ${duration(mark[0], 2)}${mark[2] ? `: ${mark[2]}` : ""}`);
      else if (run) parts.push(`running for ${duration(run[2] - run[1], 2)} from ${duration(run[1], 2)}`);
      else if (wait) parts.push(`waiting ${wait[3] !== null && names.has(wait[3]) ? `for ${names.get(wait[3]).name}` : `in ${wait[2]}`} for ${duration(wait[1] - wait[0], 2)}`);
    }
    const waiters = data.edges.filter(([source]) => source === row.id).map(([, target]) => names.get(target)?.name).filter(Boolean);
    if (waiters.length) parts.push(`awaited by ${[...new Set(waiters)].slice(0, 3).join(", ")}`);
    if (row.error) parts.push(row.error.slice(0, 200));
    setText(description, parts.join(" · "));
  }

  function choose(index) {
    if (!rows.length) return;
    const i = Math.min(Math.max(0, index), rows.length - 1);
    active = rows[i].id;
    if (i * LINE < list.scrollTop) list.scrollTop = i * LINE;
    else if ((i + 1) * LINE > list.scrollTop + list.clientHeight) list.scrollTop = (i + 1) * LINE - list.clientHeight;
    describe(rows[i]);
    soon();
  }

  const rowAt = (event) => rows[Math.floor((event.clientY - list.getBoundingClientRect().top + list.scrollTop) / LINE)];
  const timeOf = (event) => timeAt(event.clientX - list.getBoundingClientRect().left);
  let drag = null;
  list.addEventListener("pointermove", (event) => {
    if (drag) {
      const shift = ((drag.x - event.clientX) / plot()) * (drag.to - drag.from);
      return view(drag.from + shift, drag.to + shift);
    }
    const row = rowAt(event);
    if (row?.id !== active) {
      active = row?.id ?? null;
      soon();
    }
    describe(row, timeOf(event));
  });
  list.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.offsetX > list.clientWidth) return;
    drag = { x: event.clientX, from, to };
    list.setPointerCapture(event.pointerId);
  });
  for (const type of ["pointerup", "pointercancel"]) list.addEventListener(type, () => (drag = null));
  list.addEventListener("pointerleave", () => {
    if (document.activeElement === list) return;
    active = null;
    soon();
  });
  list.addEventListener("dblclick", (event) => {
    const row = rowAt(event);
    if (!row) return;
    const until = row.ended ?? data.end;
    const margin = Math.max((until - row.created) * 0.05, 1e-6);
    view(row.created - margin, until + margin);
  });
  list.addEventListener(
    "wheel",
    (event) => {
      // The page scrolls under the pointer: zoom only after a click in here, or with Ctrl.
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        const shift = ((event.deltaX || event.deltaY) / plot()) * (to - from);
        view(from + shift, to + shift);
      } else if (event.ctrlKey || event.metaKey || root.contains(document.activeElement)) zoom(1.0015 ** event.deltaY, timeOf(event));
      else return;
      event.preventDefault();
    },
    { passive: false },
  );
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = rows.findIndex((row) => row.id === active);
    const step = (to - from) / 5;
    const act = {
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": fit,
      ArrowLeft: () => view(from - step, to - step), ArrowRight: () => view(from + step, to + step),
      ArrowDown: () => choose(here + 1), ArrowUp: () => choose(here < 0 ? 0 : here - 1),
      Home: () => choose(0), End: () => choose(rows.length - 1),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
  list.addEventListener("scroll", soon);
  find.addEventListener("input", () => {
    list.scrollTop = 0;
    filter();
  });
  find.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Escape" || !find.value) return;
    event.preventDefault();
    find.value = "";
    filter();
  });
  const resize = new ResizeObserver(soon);
  resize.observe(list);

  return {
    /** Show these facts, at the current zoom and position. */
    update(newData) {
      data = newData;
      list.setAttribute("aria-label", `Timeline of ${count(data.rows.length, "task")} over ${duration(data.end, 2)}`);
      setText(note, data.notes.join(" "));
      setHidden(note, !data.notes.length);
      if (fitted) fit();
      filter();
    },
    destroy() {
      cancelAnimationFrame(frame);
      resize.disconnect();
      root.remove();
    },
  };
}
