// The grid: a few dozen row elements are reused, however many rows there are.

const ROW = 28; // pixels; as in dashboard.css
const SPARE = 3; // rows above and below what is seen
const MAX_ROWS = 58; // elements

/** One row element; it writes only what has changed. */
class RowElement {
  constructor(grid) {
    this.grid = grid;
    this.item = null;
    const button = (verb) => {
      const node = h("button", { type: "button", class: `asyncnb-button asyncnb-${verb}`, "data-verb": verb, tabindex: -1 }, icon(verb));
      return node;
    };
    this.twisty = h("button", { type: "button", class: "asyncnb-twisty", "data-verb": "toggle", tabindex: -1 }, icon("twisty"));
    this.icon = icon("pending", "asyncnb-state-icon");
    this.name = h("span", { class: "asyncnb-name-text" });
    this.size = h("span", { class: "asyncnb-size" });
    this.state = h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-state" });
    this.time = h("span", { class: "asyncnb-elapsed" });
    this.limit = h("span", { class: "asyncnb-limit" });
    this.timeCell = h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-time" }, this.time, this.limit);
    this.fill = h("span", { class: "asyncnb-fill" });
    this.bar = h("span", { class: "asyncnb-bar", role: "progressbar", "aria-valuemin": 0 }, this.fill);
    this.amount = h("span", { class: "asyncnb-amount" });
    this.note = h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-note" });
    this.cell = h("button", { type: "button", class: "asyncnb-link", "data-verb": "go", tabindex: -1 });
    this.buttons = { notify: button("notify"), pause: button("pause"), timeout: button("timeout"), rename: button("rename"), cancel: button("cancel") };
    this.nameCell = h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-name" }, this.twisty, this.icon, this.name, this.size);
    this.node = h(
      "div",
      { role: "row", class: "asyncnb-row", tabindex: -1 },
      this.nameCell,
      this.state,
      this.timeCell,
      h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-progress" }, this.bar, this.amount),
      this.note,
      h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-ref" }, this.cell),
      h("span", { role: "gridcell", class: "asyncnb-cell asyncnb-actions" }, ...Object.values(this.buttons)),
    );
    this.node.asyncnbRow = this;
    this.focusables = [this.twisty, this.cell, ...Object.values(this.buttons)];
  }

  /** Show an item at a place; `item` null: nothing. */
  show(item, place) {
    if (item === null) {
      if (this.item !== null) {
        this.item = null;
        this.node.remove();
      }
      return;
    }
    if (this.key !== item.key && this.editor) this.stopEditing(false);
    this.key = item.key;
    this.item = item;
    if (this.place !== place) {
      this.place = place;
      this.node.style.transform = `translateY(${place * ROW}px)`;
      this.node.setAttribute("aria-rowindex", place + 2); // the first is that of the headings
    }
    if (!this.node.parentNode) this.grid.canvas.append(this.node);
    const { node } = this;
    const isActive = this.grid.active === item.key;
    setAttribute(node, "tabindex", isActive ? 0 : -1);
    for (const each of this.focusables) setAttribute(each, "tabindex", isActive ? 0 : -1);
    node.classList.toggle("asyncnb-active", isActive);
    const indent = `${item.depth * 14 + (this.grid.tree.isTree ? 0 : -16)}px`;
    if (this.indent !== indent) this.twisty.style.marginInlineStart = this.indent = indent;
    this.twisty.classList.toggle("asyncnb-none", item.size === 0);
    this.twisty.classList.toggle("asyncnb-open", item.open);
    setAttribute(this.twisty, "aria-hidden", item.size === 0 ? "true" : null);
    if (item.size) setAttribute(this.twisty, "aria-expanded", item.open);
    if (item.row) this.showTask(item, item.row);
    else this.showGroup(item);
  }

  showTask(item, row) {
    const { store } = this.grid;
    const { state } = row;
    const living = !isEnded(row);
    const name = store.path(row);
    this.setClass(`asyncnb-row asyncnb-is-${state}`, store.isPending(row.id));
    setIcon(this.icon, state);
    this.label(row.name, name, item.size ? `${item.open ? "Collapse" : "Expand"} ${name}` : "");
    const counts = item.isFull ? countsInside(store.insides.get(row.id)) : item.size && !item.open ? `${item.size}` : "";
    setText(this.size, counts);
    setAttribute(this.size, "title", item.isFull ? `Tasks inside: ${counts}` : null);
    setText(this.state, state);
    this.showTimes();
    this.showProgress(row, name, row.done, row.total);
    this.showNote();
    setText(this.cell, row.cell ? `In[${row.cell}]` : "");
    setHidden(this.cell, !row.cell);
    setAttribute(this.cell, "aria-label", `Go to the cell of ${row.name}, In[${row.cell}]`);
    const paused = state === "paused";
    this.showButton("pause", living && store.canPause(row), `${paused ? "Resume" : "Pause"} ${name}`);
    setIcon(this.buttons.pause.firstChild, paused ? "resume" : "pause");
    this.showButton("notify", living && !row.isInner && store.can.includes("notify"), `Notify when ${name} ends`);
    setIcon(this.buttons.notify.firstChild, row.notify ? "notified" : "notify");
    setAttribute(this.buttons.notify, "aria-pressed", Boolean(row.notify));
    this.showButton("timeout", living && !row.isInner, `Set time limit of ${name}`);
    this.showButton("rename", living && !row.isInner, `Rename ${name}`);
    this.showButton("cancel", living, `Cancel ${name}`);
  }

  showGroup(item) {
    const members = item.members;
    const living = members.filter((row) => !isEnded(row));
    const failed = members.filter((row) => row.state === "failed").length;
    const group = this.grid.store.groups.get(item.group);
    const state = group?.state === "cancelling" ? "cancelling" : living.length ? "running" : group ? "open" : failed ? "failed" : "ended";
    this.setClass(`asyncnb-row asyncnb-group asyncnb-is-${state}`, false);
    setIcon(this.icon, "group");
    this.label(item.group, `Group ${item.group}`, `${item.open ? "Collapse" : "Expand"} group ${item.group}`);
    setText(this.size, `${members.length}`);
    setText(this.state, state === "running" ? `${living.length} living` : state);
    setText(this.time, "");
    setText(this.limit, "");
    this.showProgress(null, `group ${item.group}`, members.length - living.length, members.length || null);
    const counts = { running: living.length };
    for (const each of this.grid.store.format.ended) counts[each] = members.filter((row) => row.state === each).length;
    setText(this.note, countsOf(counts));
    setAttribute(this.note, "title", this.note.textContent || null);
    setHidden(this.cell, true);
    for (const verb of ["notify", "pause", "timeout", "rename"]) this.showButton(verb, false);
    this.showButton("cancel", living.length > 0 && state !== "cancelling", `Cancel group ${item.group}`);
  }

  setClass(name, isPending) {
    name += this.grid.active === this.key ? " asyncnb-active" : "";
    name += isPending ? " asyncnb-pending" : "";
    name += this.grid.store.details?.id === this.item.row?.id && this.item.row ? " asyncnb-shown" : "";
    if (this.className !== name) this.node.className = this.className = name;
  }

  label(text, name, twisty) {
    setText(this.name, text);
    setAttribute(this.name, "title", text.length > 24 ? text : null);
    setAttribute(this.node, "aria-label", name);
    setAttribute(this.twisty, "aria-label", twisty || null);
  }

  showButton(verb, isShown, label = "") {
    const node = this.buttons[verb];
    if (!isShown && node.contains(document.activeElement)) this.node.focus({ preventScroll: true });
    setHidden(node, !isShown);
    if (isShown) {
      setAttribute(node, "aria-label", label);
      setAttribute(node, "title", label);
      node.disabled = this.grid.store.connection === "lost";
    }
  }

  showProgress(row, name, done, total) {
    const known = done !== null && total !== null && total > 0;
    setHidden(this.bar, !known);
    if (known) {
      const part = Math.min(1, done / total);
      const scale = `scaleX(${part.toFixed(4)})`;
      if (this.scale !== scale) this.fill.style.transform = this.scale = scale;
      setAttribute(this.bar, "aria-label", `Progress of ${name}`);
      setAttribute(this.bar, "aria-valuenow", done);
      setAttribute(this.bar, "aria-valuemax", total);
    }
    setText(this.amount, done === null ? "" : total === null ? amount(done) : `${amount(done)}/${amount(total)}`);
    const whole = total === null ? `${done}` : `${done} of ${total}`;
    setAttribute(this.amount, "title", Math.max(done ?? 0, total ?? 0) < 10000 ? null : whole);
  }

  /** The times, which tick without a message. */
  showTimes() {
    const row = this.item?.row;
    if (!row) return;
    const { store } = this.grid;
    const now = store.connection === "lost" ? store.lostAt ?? store.now() : store.now();
    setText(this.time, row.started === null ? "" : elapsed((row.ended ?? now) - row.started));
    const limit = row.deadline === null || isEnded(row) ? "" : `${countdown(row.deadline - now)} left`;
    setText(this.limit, limit);
    setAttribute(this.timeCell, "title", limit || null); // a narrow view has no room for it
  }

  /** The failure; of a run of calls its counts, whose last one ticks; else what it waits for. */
  showNote() {
    const row = this.item?.row;
    if (!row) return;
    const { store } = this.grid;
    const now = store.connection === "lost" ? store.lostAt ?? store.now() : store.now();
    setText(this.note, row.note || callsNote(row, now) || (isEnded(row) ? "" : row.waits_for));
    setAttribute(this.note, "title", this.note.textContent || null);
  }

  // Editing in place: the name, or the time limit.

  edit(what) {
    const { row } = this.item;
    if (!row || row.isInner || this.editor || isEnded(row)) return;
    const isName = what === "rename";
    const host = isName ? this.nameCell : this.timeCell;
    const left = row.deadline === null ? "" : String(Math.max(0, Math.round(row.deadline - this.grid.store.now())));
    const input = h("input", {
      class: "asyncnb-editor",
      type: "text",
      inputmode: isName ? "text" : "decimal",
      spellcheck: "false",
      autocomplete: "off",
      "aria-label": isName ? `New name of ${row.name}` : `Seconds left for ${row.name}, empty for no limit`,
      placeholder: isName ? "name" : "seconds",
    });
    input.value = isName ? row.name : left;
    this.editor = { input, what, row };
    host.classList.add("asyncnb-editing");
    host.append(input);
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") this.stopEditing(true);
      else if (event.key === "Escape") this.stopEditing(false);
      else return;
      event.preventDefault();
      this.node.focus({ preventScroll: true });
    });
    input.addEventListener("blur", () => this.stopEditing(false));
    input.focus({ preventScroll: true });
    input.select();
  }

  stopEditing(isWanted) {
    const { editor } = this;
    if (!editor) return;
    this.editor = null;
    const host = editor.input.parentNode;
    host?.classList.remove("asyncnb-editing");
    editor.input.remove();
    if (!isWanted) return;
    const { store } = this.grid;
    const { row } = editor;
    const value = editor.input.value.trim();
    if (editor.what === "rename") {
      if (value !== row.name) store.command("rename", { id: row.id, name: value });
      return;
    }
    // Anything but a number goes to the kernel as text: it knows why that is no time limit.
    const seconds = value === "" || value === "none" ? null : Number(value);
    store.command("timeout", { id: row.id, seconds: Number.isNaN(seconds) ? value : seconds });
  }
}

/** The grid: the visible rows, the keyboard, the mouse. */
class Grid {
  constructor(store, height) {
    this.store = store;
    this.tree = new Tree(store);
    this.active = null; // key of the row that the keyboard is on
    this.elements = [];
    this.height = height;
    this.built = -1;
    this.hovered = false;
    const heading = (name, css) => h("span", { role: "columnheader", class: `asyncnb-cell asyncnb-${css}`, text: name });
    this.canvas = h("div", { class: "asyncnb-canvas", role: "presentation" });
    this.empty = h("div", { class: "asyncnb-empty" });
    this.viewport = h("div", { class: "asyncnb-viewport", role: "rowgroup", tabindex: -1 }, this.canvas);
    this.node = h(
      "div",
      { role: "grid", "aria-label": "Tasks", class: "asyncnb-grid" },
      h(
        "div",
        { role: "row", class: "asyncnb-row asyncnb-head", "aria-rowindex": 1 },
        heading("Task", "name"),
        heading("State", "state"),
        heading("Time", "time"),
        heading("Progress", "progress"),
        heading("Note", "note"),
        heading("Cell", "ref"),
        heading("Actions", "actions"),
      ),
      this.viewport,
      this.empty,
    );
    this.viewport.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.viewport.addEventListener("pointerenter", () => (this.hovered = true));
    this.viewport.addEventListener("pointerleave", () => {
      this.hovered = false;
      this.rebuild();
    });
    this.node.addEventListener("click", (event) => this.onClick(event));
    this.node.addEventListener("dblclick", (event) => {
      const row = event.target.closest?.(".asyncnb-name-text") && this.elementOf(event.target);
      if (row) row.edit("rename");
    });
    this.node.addEventListener("keydown", (event) => this.onKey(event));
    this.node.addEventListener("focusin", (event) => {
      const element = this.elementOf(event.target);
      if (element && element.key !== this.active) this.activate(element.key, false);
    });
  }

  elementOf(target) {
    return target.closest?.(".asyncnb-row")?.asyncnbRow ?? null;
  }

  schedule() {
    this.onSchedule?.();
  }

  rebuild() {
    this.built = -1;
    this.schedule();
  }

  /** Called once a frame, if anything may have changed. */
  paint() {
    const { store, tree } = this;
    store.filtersByState = tree.states.size > 0;
    if (this.built !== store.structure) {
      this.built = store.structure;
      const before = tree.items[this.first];
      const offset = this.viewport.scrollTop - (this.first ?? 0) * ROW;
      const at = tree.index.get(this.active) ?? 0;
      tree.build(this.hovered);
      this.canvas.style.height = `${tree.items.length * ROW}px`;
      // Keep the visible rows where they are.
      const moved = before && this.viewport.scrollTop > 0 ? tree.index.get(before.key) : undefined;
      if (moved !== undefined && moved !== this.first) this.viewport.scrollTop = moved * ROW + offset;
      // The place of a row that is gone is the next one's.
      if (!tree.index.has(this.active)) this.active = tree.items[Math.min(at, tree.items.length - 1)]?.key ?? null;
    }
    const { items } = tree;
    setAttribute(this.node, "aria-rowcount", items.length + 1);
    const shownHeight = Math.min(this.height, Math.max(ROW, items.length * ROW));
    if (this.shownHeight !== shownHeight) {
      this.shownHeight = shownHeight;
      this.viewport.style.height = `${shownHeight}px`;
    }
    this.showEmpty(items.length);
    const room = Math.min(MAX_ROWS, Math.ceil(shownHeight / ROW) + 1 + 2 * SPARE);
    const top = Math.floor(this.viewport.scrollTop / ROW);
    this.first = Math.max(0, top - SPARE);
    const last = Math.min(items.length, this.first + room);
    while (this.elements.length < room) this.elements.push(new RowElement(this));
    const hadFocus = this.elementOf(document.activeElement ?? this.node);
    const focusKey = hadFocus?.grid === this && document.activeElement === hadFocus.node ? hadFocus.key : null;
    const used = new Set();
    for (let i = this.first; i < last; i++) {
      const element = this.elements[i % room];
      used.add(element);
      element.show(items[i], i);
    }
    for (const element of this.elements) if (!used.has(element)) element.show(null);
    if (focusKey !== null) this.focusRow(tree.index.has(focusKey) ? focusKey : this.active);
    else if (document.activeElement === this.viewport && this.active !== null) this.focusRow(this.active);
  }

  showEmpty(count) {
    const text = count ? "" : !this.store.format ? "…" : this.tree.isFiltered ? "No task matches." : "No tasks yet. Launch one: %%atask, or asyncnb.launch(…).";
    setText(this.empty, text);
    setHidden(this.empty, !text);
    setHidden(this.viewport, count === 0);
  }

  /** Update the ticking times only. */
  tick() {
    for (const element of this.elements) {
      const row = element.item?.row;
      if (!row || isEnded(row)) continue;
      element.showTimes();
      if (row.calls) element.showNote();
    }
  }

  visibleIds() {
    const height = this.shownHeight ?? 0;
    const top = Math.floor(this.viewport.scrollTop / ROW);
    const shown = this.tree.items.slice(Math.max(0, top - SPARE), top + Math.ceil(height / ROW) + SPARE + 1);
    return shown.filter((item) => item.row).map((item) => item.row.id);
  }

  /** The ids of the unfolded tasks that there still are. */
  unfoldedIds() {
    const { unfolded } = this.tree;
    for (const id of unfolded) if (!this.store.find(id)) unfolded.delete(id);
    return [...unfolded];
  }

  find(key) {
    return this.elements.find((element) => element.item?.key === key) ?? null;
  }

  focusRow(key) {
    const element = this.find(key);
    if (element) element.node.focus({ preventScroll: true });
    else this.viewport.focus({ preventScroll: true }); // not rendered now; the viewport still receives keys
  }

  activate(key, focus = true) {
    this.active = key;
    const at = this.tree.index.get(key);
    if (at === undefined) return;
    if (focus) {
      const { scrollTop } = this.viewport;
      if (at * ROW < scrollTop) this.viewport.scrollTop = at * ROW;
      else if ((at + 1) * ROW > scrollTop + this.shownHeight) this.viewport.scrollTop = (at + 1) * ROW - this.shownHeight;
    }
    this.paint();
    if (focus) this.focusRow(key);
  }

  toggle(item, open = !item.open) {
    if (!item.size) return;
    if (open) this.tree.unfold(item);
    else this.tree.fold(item);
    this.built = -1;
    this.store.setUnfolded();
    this.paint(); // at once: the next key may come before the next frame
  }

  onClick(event) {
    const element = this.elementOf(event.target);
    if (!element?.item) return;
    const verb = event.target.closest("[data-verb]")?.dataset.verb;
    if (!verb && event.target.closest(".asyncnb-editor")) return;
    this.act(element.item, verb ?? "open", element);
    if (!verb) this.activate(element.key);
  }

  act(item, verb, element = this.find(item.key)) {
    const { row } = item;
    if (verb === "toggle") this.toggle(item);
    else if (verb === "cancel" && !row) this.store.command("cancel_group", { group: item.group });
    else if (!row) return verb === "open" && this.toggle(item);
    else if (verb === "open") this.store.openDetails(this.store.details?.id === row.id ? null : row.id);
    else if (verb === "go") this.onGo?.(row);
    else if (isEnded(row) || this.store.connection === "lost") return;
    else if (verb === "rename" || verb === "timeout") element?.edit(verb);
    else if (verb === "notify") toggleBell(this.store, row);
    else if (verb === "pause") this.command(row, row.state === "paused" ? "resume" : "pause");
    else if (verb === "cancel") this.command(row, "cancel");
  }

  command(row, verb) {
    if (!row.isInner) this.store.command(verb, { id: row.id });
    // With the name it has on the screen: another task may have its id by now.
    else this.store.command(`${verb}_inner`, { id: row.id, name: row.name });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isButton = event.target.closest?.("button") !== null;
    if (isButton && (event.key === "Enter" || event.key === " ")) return;
    const { items, index } = this.tree;
    const at = index.get(this.active) ?? 0;
    const item = items[at];
    if (!item) return;
    const page = Math.max(1, Math.floor(this.shownHeight / ROW) - 1);
    const go = (to) => this.activate(items[Math.max(0, Math.min(items.length - 1, to))].key);
    const keys = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      PageDown: () => go(at + page),
      PageUp: () => go(at - page),
      Home: () => go(0),
      End: () => go(items.length - 1),
      ArrowRight: () => (item.size && !item.open ? this.toggle(item, true) : item.size ? go(at + 1) : undefined),
      ArrowLeft: () => {
        if (item.open) this.toggle(item, false);
        else if (item.depth) go(items.slice(0, at).findLastIndex((each) => each.depth < item.depth));
      },
      Enter: () => this.act(item, "open"),
      " ": () => this.act(item, "open"),
      Delete: () => this.act(item, "cancel"),
      F2: () => this.act(item, "rename"),
      p: () => item.row && this.store.canPause(item.row) && this.act(item, "pause"),
      t: () => this.act(item, "timeout"),
      n: () => item.row && !item.row.isInner && this.store.can.includes("notify") && this.act(item, "notify"),
      g: () => item.row?.cell && this.act(item, "go"),
    };
    const action = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }
}
