// Small helpers for all views. These files share one scope (see _static.py), so nothing is imported.

/** Make an element: h("div", {class: "x", role: "row", text: "…"}, ...children). Text is never HTML. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [type, f] of Object.entries(value)) node.addEventListener(type, f);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Write only what has changed: a write costs layout, a comparison almost nothing. */
function setText(node, text) {
  if (node.asyncnbText !== text) {
    node.asyncnbText = text;
    node.textContent = text;
  }
}

function setAttribute(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// Icons on a grid of 16. Each state has a shape as well as a colour; one without a shape of its own
// here, which Python may add, gets that of "pending".
const SHAPES = {
  pending: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Zm0 1.6a4.4 4.4 0 1 0 0 8.8 4.4 4.4 0 0 0 0-8.8Z",
  running: "M4.5 2.6v10.8a.6.6 0 0 0 .9.5l8.6-5.4a.6.6 0 0 0 0-1L5.4 2.1a.6.6 0 0 0-.9.5Z",
  waiting:
    "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Zm0 1.6a4.4 4.4 0 1 0 0 8.8 4.4 4.4 0 0 0 0-8.8Zm.8 1.6v2.5l1.9 1.2-.8 1.3-2.7-1.7V5.2Z",
  paused: "M4.4 2.8h2.4v10.4H4.4Zm4.8 0h2.4v10.4H9.2Z",
  cancelling:
    "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Zm0 1.6a4.4 4.4 0 1 0 0 8.8 4.4 4.4 0 0 0 0-8.8ZM5.8 5.8h4.4v4.4H5.8Z",
  done: "m3 8.4 1.3-1.3 2.4 2.4 5.1-5.3L13.1 5.5 6.7 12Z",
  failed: "m4.1 3 3.9 3.9L11.9 3 13 4.1 9.1 8l3.9 3.9-1.1 1.1L8 9.1 4.1 13 3 11.9 6.9 8 3 4.1Z",
  cancelled: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Zm0 1.6a4.4 4.4 0 1 0 0 8.8 4.4 4.4 0 0 0 0-8.8ZM5 7.2h6v1.6H5Z",
  group: "M2 3.5h5l1.3 1.6H14v7.4H2Zm1.5 3.1v4.4h9V6.6Z",
  twisty: "M6 3.8 10.6 8 6 12.2Z",
  cancel: "m4.1 3 3.9 3.9L11.9 3 13 4.1 9.1 8l3.9 3.9-1.1 1.1L8 9.1 4.1 13 3 11.9 6.9 8 3 4.1Z",
  pause: "M4.4 2.8h2.4v10.4H4.4Zm4.8 0h2.4v10.4H9.2Z",
  resume: "M4.5 2.6v10.8a.6.6 0 0 0 .9.5l8.6-5.4a.6.6 0 0 0 0-1L5.4 2.1a.6.6 0 0 0-.9.5Z",
  rename: "M10.9 2.2 13.8 5 5.7 13.2l-3.5.7.7-3.6Zm0 2.1L4.2 11l-.2.9.9-.2L11.7 5Z",
  timeout: "M6 1h4v1.4H8.8v1A5.6 5.6 0 1 1 7.2 3.4v-1H6Zm2 3.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4Zm.7 1.4v2.9H7.3V6.2Z",
  notify:
    "M8 1.4a1 1 0 0 1 1 1v.3a4.2 4.2 0 0 1 3.2 4.1v2.7l1.4 2.1v.8H2.4v-.8l1.4-2.1V6.8A4.2 4.2 0 0 1 7 2.7v-.3a1 1 0 0 1 1-1Zm0 2.6a2.8 2.8 0 0 0-2.8 2.8V10l-.7 1h7l-.7-1V6.8A2.8 2.8 0 0 0 8 4ZM6.4 13.2h3.2a1.6 1.6 0 0 1-3.2 0Z",
  notified:
    "M8 1.4a1 1 0 0 1 1 1v.3a4.2 4.2 0 0 1 3.2 4.1v2.7l1.4 2.1v.8H2.4v-.8l1.4-2.1V6.8A4.2 4.2 0 0 1 7 2.7v-.3a1 1 0 0 1 1-1ZM6.4 13.2h3.2a1.6 1.6 0 0 1-3.2 0Z",
  search: "M6.8 2a4.8 4.8 0 0 1 3.8 7.7l3.2 3.2-1.1 1.1-3.2-3.2A4.8 4.8 0 1 1 6.8 2Zm0 1.5a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6Z",
};

function icon(name, css = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `asyncnb-icon ${css}`.trim());
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.append(path);
  setIcon(svg, name);
  return svg;
}

function setIcon(svg, name) {
  if (svg.asyncnbShape !== name) {
    svg.asyncnbShape = name;
    svg.firstChild.setAttribute("d", SHAPES[name] ?? SHAPES.pending);
  }
}

const TICK = 100; // milliseconds between two updates of running times
const CALM_TICK = 1000; // the same where the user asked for reduced motion

/**
 * A duration as text, as duration() of base/text.py writes it. `digits` after the point
 * below ten seconds: 1 for a time that ticks, 0 for whole seconds, 2 also down to microseconds.
 */
function duration(seconds, digits = 1) {
  if (seconds === null || Number.isNaN(seconds)) return "";
  seconds = Math.max(0, seconds);
  if (digits > 1 && seconds < 1e-3) return seconds ? `${(seconds * 1e6).toFixed(0)} µs` : "0 s";
  if (digits && seconds < 0.0995) return `${digits > 1 ? Number((seconds * 1e3).toPrecision(3)) : Math.round(seconds * 1e3)} ms`;
  if (seconds < 60) {
    const shown = seconds < 10 ? digits : Math.max(0, digits - 1);
    return `${shown ? seconds.toFixed(shown) : Math.floor(seconds)} s`;
  }
  const two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${two(Math.floor(seconds % 60))} s` : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** A number with its noun: `1 task`, `1,200 tasks`. */
function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** Numbers by word, without the zeros: `14 running, 5 done, 1 failed`. */
function countsOf(counts) {
  return Object.entries(counts).filter(([, n]) => n).map(([word, n]) => `${n.toLocaleString("en")} ${word}`).join(", ");
}

/** How many tasks are inside another one, in short: `20 running`, `20: 14 running, 6 done`. */
function countsInside(counts) {
  const numbers = Object.values(counts).filter(Boolean);
  const total = numbers.length > 1 ? `${numbers.reduce((sum, n) => sum + n).toLocaleString("en")}: ` : "";
  return total + countsOf(counts);
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A number that fits into a column: `9,999`, `12.3K`. */
function amount(number) {
  return Math.abs(number) < 10000 ? number.toLocaleString("en") : COMPACT.format(number);
}

/** The rest of a time limit, for a narrow column: `57 s`, `1:27`, `2:03:00`. */
function countdown(seconds) {
  return clock(Math.max(0, Math.ceil(seconds)));
}

/** The time since the start, for a narrow column: `57 ms`, `1.2 s`, `1:27`, `2:03:00`. */
function elapsed(seconds) {
  return seconds < 60 ? duration(seconds) : clock(Math.floor(seconds));
}

function clock(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** Text with ANSI colours and carriage returns, as a terminal would show it, into nodes of text. */
function terminalText(text) {
  const shown = document.createDocumentFragment();
  const style = new Set();
  const lines = text.split("\n").map((line) => {
    const last = line.replace(/\r+$/, "").lastIndexOf("\r"); // a progress bar that overwrites itself
    return last < 0 ? line : line.slice(last + 1);
  });
  // eslint-disable-next-line no-control-regex
  for (const part of lines.join("\n").split(/(\x1b\[[0-9;]*[A-Za-z])/)) {
    const codes = /^\x1b\[([0-9;]*)([A-Za-z])$/.exec(part);
    if (!codes) {
      if (!part) continue;
      shown.append(style.size ? h("span", { class: [...style].join(" "), text: part }) : part);
    } else if (codes[2] === "m") restyle(style, codes[1].split(";").map(Number));
  }
  return shown;
}

function restyle(style, codes) {
  const drop = (test) => style.forEach((name) => test.test(name) && style.delete(name));
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) style.clear();
    else if (code === 1) style.add("asyncnb-bold");
    else if (code === 22) style.delete("asyncnb-bold");
    else if (code === 39) drop(/asyncnb-fg/);
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      drop(/asyncnb-fg/);
      style.add(`asyncnb-fg${code % 10}`);
    } else if (code === 38 || code === 48) i += codes[i + 1] === 5 ? 2 : 4; // 256 colours are not supported
  }
}
