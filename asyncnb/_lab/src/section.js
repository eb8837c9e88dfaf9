// One notebook in the panel: its heading, and below it the dashboard's own tree of its tasks.

Object.assign(SHAPES, {
  list: "M2 3h2v2H2Zm4 0h8v2H6ZM2 7h2v2H2Zm4 0h8v2H6Zm-4 4h2v2H2Zm4 0h8v2H6Z",
  timeline: "M1.5 3h7v2.4h-7Zm4 3.8h8v2.4h-8Zm-2 3.8h6V13h-6Z",
  background: "M7.2 2h1.6v6.1l2-2 1.1 1.1L8 11.1 4.1 7.2l1.1-1.1 2 2ZM3 12.4h10V14H3Z",
  clear: "M2 3.6h9v1.6H2Zm0 3.6h6v1.6H2Zm0 3.6h4.5v1.6H2Zm8.2-1.7 1.1-1 1.2 1.2 1.2-1.2 1 1-1.2 1.2 1.2 1.2-1 1.1-1.2-1.2-1.2 1.2-1.1-1.1 1.2-1.2Z",
  cancelAll: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Zm0 1.6a4.9 4.9 0 1 0 0 9.8 4.9 4.9 0 0 0 0-9.8ZM5.6 5.6h4.8v4.8H5.6Z",
  warning: "M8 1.6 15 14H1Zm0 3.2L3.7 12.4h8.6ZM7.3 7h1.4v2.8H7.3Zm0 3.4h1.4v1.3H7.3Z",
});

const LINGER = 1000; // milliseconds after which a section that was scrolled away asks for no more rows
const MIN_LIST = 4 * ROW; // pixels of the list of a section, if it has as many rows
const WORDS = {
  unknown: "",
  absent: "asyncnb is not loaded",
  foreign: "not a Python kernel",
  restarting: "restarting…",
  disconnected: "not connected",
  dead: "the kernel has ended",
};

/** The view of the dashboard without a heading: the section has it. */
class SectionView extends View {
  constructor(store, section) {
    super(store, MIN_LIST);
    this.section = section;
    this.painted = 0;
    this.grid.node.setAttribute("aria-label", `Tasks of ${section.title}`);
    this.grid.onSchedule = () => super.changed(); // scrolled: at once
    this.node.classList.add("asyncnb-in-panel");
    this.addDetailButtons();
    for (const [i, tab] of this.tabs.entries()) {
      setAttribute(tab, "aria-label", tab.textContent);
      setAttribute(tab, "title", tab.textContent);
      tab.replaceChildren(icon(["list", "timeline"][i]));
    }
    for (const [button, shape] of [[this.background, "background"], [this.clear, "clear"], [this.cancelAll, "cancelAll"]]) {
      const label = button.title || button.textContent;
      button.replaceChildren(icon(shape));
      button.className = `asyncnb-button${shape === "cancelAll" ? " asyncnb-cancel" : ""}`;
      setAttribute(button, "aria-label", button === this.background ? label : `${label}: ${section.title}`);
      setAttribute(button, "title", label);
    }
  }

  /** The buttons for which a narrow row has no room. */
  addDetailButtons() {
    this.detailButtons = ["notify", "timeout", "rename"].map((verb) =>
      h("button", { type: "button", class: "asyncnb-button", on: { click: () => this.actOnDetails(verb) } }, icon(verb)));
    this.detail.title.after(...this.detailButtons);
  }

  paintDetailButtons() {
    const { details } = this.store;
    const row = details && this.store.find(details.id);
    if (!row) return;
    for (const [i, label] of [`Notify when ${row.name} ends`, `Set time limit of ${row.name}`, `Rename ${row.name}`].entries()) {
      const button = this.detailButtons[i];
      setHidden(button, row.isEnded || row.isInner);
      setAttribute(button, "aria-label", label);
      setAttribute(button, "title", label);
      button.disabled = this.store.connection !== "live";
    }
    setIcon(this.detailButtons[0].firstChild, row.notify ? "notified" : "notify");
    setAttribute(this.detailButtons[0], "aria-pressed", Boolean(row.notify));
  }

  actOnDetails(verb) {
    const { grid } = this;
    const key = `t:${this.store.details.id}`;
    const item = grid.tree.items[grid.tree.index.get(key)];
    if (!item) return this.announce("The filter hides this task.", true);
    if (verb !== "notify") grid.activate(key); // it is edited in its row
    grid.act(item, verb);
  }

  toolbar() {
    return h("div", { class: "asyncnb-toolbar" }, this.tablist, this.countBox, h("div", { class: "asyncnb-tools" }, this.background, this.clear, this.cancelAll));
  }

  /** Paint no more often than the setting says. */
  changed() {
    if (this.delayed) return;
    const wait = this.section.panel.interval() - (performance.now() - this.painted);
    if (wait <= 16) return super.changed();
    this.delayed = setTimeout(() => {
      this.delayed = 0;
      super.changed();
    }, wait);
  }

  paint() {
    this.painted = performance.now();
    super.paint();
    this.paintDetailButtons();
    const { section } = this;
    section.panel.arrangeSoon();
    if (section.panel.wanted?.kernelId === section.entry.id) section.showTask(section.panel.wanted.cellId);
  }

  lostText() {
    return `Not connected: ${this.store.why}.`;
  }

  focusFilter() {
    this.section.panel.focus();
  }

  goToCell(row) {
    void this.section.goToCell(row);
  }

  destroy() {
    clearTimeout(this.delayed);
    super.destroy();
  }
}

/** One kernel: a heading, and below it the rows while they are seen. */
class Section {
  constructor(panel, entry) {
    this.panel = panel;
    this.entry = entry;
    this.number = ++Section.made;
    this.isOpen = !panel.folded.has(entry.path);
    this.isNear = false;
    const body = `asyncnb-notebook-${this.number}`;
    this.label = h("span", { class: "asyncnb-notebook-name" });
    this.words = h("span", { class: "asyncnb-notebook-words" });
    this.running = h("span", { class: "asyncnb-tally asyncnb-is-running", "aria-hidden": "true" });
    this.failed = h("span", { class: "asyncnb-tally asyncnb-is-failed", "aria-hidden": "true" });
    this.warning = h("span", { class: "asyncnb-tally asyncnb-is-cancelling", "aria-hidden": "true", hidden: "" }, icon("warning"));
    this.twisty = h("span", { class: "asyncnb-twisty" }, icon("twisty"));
    this.button = h("button", { type: "button", class: "asyncnb-notebook-toggle", "aria-controls": body, on: { click: () => this.toggle() } },
      this.twisty, this.label, this.words, this.warning, this.failed, this.running);
    this.load = h("button", { type: "button", class: "asyncnb-load", text: "Load asyncnb", hidden: "", on: { click: () => this.loadExtension() } });
    this.head = h("h3", { class: "asyncnb-notebook-head" }, this.button, this.load);
    this.body = h("div", { class: "asyncnb-notebook-body", id: body });
    this.node = h("section", { class: "asyncnb-notebook" }, this.head, this.body);
    this.node.asyncnbSection = this;
    this.button.addEventListener("keydown", (event) => this.onKey(event));
    this.body.addEventListener("keydown", (event) => this.onBodyKey(event));
    this.update();
  }

  get title() {
    const { name, path, id } = this.entry;
    return name || path || `Kernel ${id.slice(0, 8)}`;
  }

  get isLive() {
    return this.entry.state === "loaded" || this.entry.state === "disconnected";
  }

  get isShown() {
    return this.isOpen || this.panel.text !== "";
  }

  /** Write what is known of the kernel; ask for rows, or no longer. */
  update() {
    const { entry } = this;
    const { state, summary, path } = entry;
    const isLive = this.isLive && state !== "disconnected";
    const living = isLive ? summary?.counts.running ?? 0 : 0;
    const failed = isLive ? summary?.counts?.failed ?? 0 : 0;
    const isBlocked = isLive && Boolean(summary?.blocked);
    const words = WORDS[state] ?? "";
    setText(this.label, this.title);
    setAttribute(this.button, "title", path || this.title);
    setText(this.words, words);
    setText(this.running, living ? living.toLocaleString("en") : "");
    setText(this.failed, failed ? failed.toLocaleString("en") : "");
    setHidden(this.warning, !isBlocked);
    const facts = [words, living && `${living.toLocaleString("en")} running`, failed && `${failed.toLocaleString("en")} failed`, isBlocked && "the loop is blocked"];
    setAttribute(this.button, "aria-label", [this.title, ...facts.filter(Boolean)].join(", "));
    setAttribute(this.node, "aria-label", this.title);
    setAttribute(this.node, "data-state", state);
    const canFold = this.isLive;
    setAttribute(this.button, "aria-expanded", canFold ? this.isShown : null);
    this.twisty.classList.toggle("asyncnb-open", this.isShown);
    this.twisty.classList.toggle("asyncnb-none", !canFold);
    setHidden(this.body, !(canFold && this.isShown));
    setHidden(this.load, state !== "absent");
    this.load.disabled = Boolean(this.isLoading);
    setText(this.load, this.isLoading ? "Loading…" : "Load asyncnb");
    setAttribute(this.load, "title", entry.note ?? `Run %load_ext asyncnb in ${this.title}`);
    setAttribute(this.load, "aria-label", `Load asyncnb in ${this.title}`);
    if (this.store && state === "disconnected" && this.store.connection !== "lost") this.store.connection = "silent";
    if (!this.isLive || (state === "loaded" && this.store?.connection === "lost")) this.drop(); // of another kernel than now
    this.follow();
    this.view?.changed();
  }

  /** A word that is in the notebook's name is true of all its tasks: the others filter them. */
  setFilter(text) {
    const name = this.title.replace(/\.ipynb$/, "").toLowerCase();
    this.view?.setFilter(text.split(/\s+/).filter((word) => !name.includes(word.toLowerCase())).join(" "));
  }

  // Rows: while the section is open and on the screen

  follow() {
    const isWanted = this.panel.isAwake && this.isNear && this.isShown && this.entry.state === "loaded";
    clearTimeout(this.leaving);
    if (isWanted) this.subscribe();
    else if (!this.panel.isAwake) this.unsubscribe();
    else this.leaving = setTimeout(() => this.unsubscribe(), LINGER);
  }

  subscribe() {
    if (!this.view) {
      this.store = new Store((message) => this.send(message));
      this.view = new SectionView(this.store, this);
      this.setFilter(this.panel.text);
      this.body.replaceChildren();
      this.view.show(this.body);
    } else if (this.isResting) this.view.wake();
    this.isResting = false;
  }

  unsubscribe() {
    if (!this.view || this.isResting) return;
    this.view.rest();
    this.isResting = true;
  }

  drop() {
    this.view?.destroy();
    this.rows?.dispose();
    this.view = this.store = this.rows = null;
    this.isResting = false;
    this.body.replaceChildren();
  }

  /** A subscription begins with a snapshot, which is what a store asks for first. */
  send(message) {
    if (message.c === "close") {
      this.rows?.dispose();
      this.rows = null;
    } else if (!this.rows) {
      if (message.c !== "sync") return;
      const { store } = this;
      this.rows = this.entry.openRows((...received) => store.receive(...received));
    } else {
      try {
        this.rows.post(message);
      } catch (error) {
        // Not connected for now: the rows stay, what was asked for is not done.
        if (message.n !== undefined) this.store.takeAnswer({ n: message.n, ok: false, text: error.message });
      }
    }
  }

  /** Put the keyboard on the newest task of a cell, once its row is there. */
  showTask(cellId) {
    const { store, view } = this;
    if (!store?.format || view.tasksPanel.hidden) return;
    const rows = [...store.rows.values()].filter((row) => row.cell_id === cellId);
    const row = rows.findLast((each) => !each.isEnded) ?? rows.at(-1);
    this.panel.wanted = null;
    if (!row) return view.announce("The task of this cell is no longer listed.", true);
    const { grid } = view;
    grid.tree.states.clear();
    for (let each = row; each; each = each.group === null ? store.rows.get(each.parent) : null) {
      grid.tree.closed.delete(`g:${each.group}`);
      if (each !== row) grid.tree.closed.delete(`t:${each.id}`);
    }
    grid.rebuild();
    grid.paint();
    grid.activate(`t:${row.id}`);
    this.node.scrollIntoView({ block: "nearest" });
  }

  // What the user does

  toggle(isOpen = !this.isOpen) {
    if (!this.isLive || this.panel.text) return;
    this.isOpen = isOpen;
    this.panel.remember(this);
    this.update();
    this.panel.arrangeSoon();
  }

  async loadExtension() {
    this.isLoading = true;
    this.update();
    try {
      await this.entry.load();
      this.isOpen = true;
      if (document.activeElement === this.load || document.activeElement === document.body) this.button.focus();
    } catch (error) {
      this.panel.announce(`asyncnb was not loaded in ${this.title}: ${error.message}`, true);
    } finally {
      this.isLoading = false;
      this.update();
    }
  }

  /** Show the notebook, scroll to the cell that launched a task, and flash it. */
  async goToCell(row) {
    const { app } = this.panel;
    const say = (text) => this.view?.announce(text, true);
    try {
      let notebook = this.entry.panel;
      if (notebook?.isDisposed) notebook = null;
      notebook ??= await app.commands.execute("docmanager:open", { path: this.entry.path });
      if (!notebook?.content?.widgets) return say(`The notebook ${this.title} is in another window.`);
      app.shell.activateById(notebook.id);
      await notebook.context.ready;
      const { content } = notebook;
      const index = content.widgets.findIndex(({ model }) => (row.cell_id ? model.id === row.cell_id : model.executionCount === row.cell && row.cell > 0));
      if (index < 0) return say(`The cell of ${row.name}, In[${row.cell}], is not in ${this.title}.`);
      content.deselectAll();
      content.activeCellIndex = index;
      await content.scrollToItem?.(index, "center");
      const { node } = content.widgets[index];
      node.scrollIntoView({ block: "nearest" });
      node.classList.add("asyncnb-pointed-at");
      setTimeout(() => node.classList.remove("asyncnb-pointed-at"), 1600);
    } catch (error) {
      say(`The notebook could not be opened: ${error.message}`);
    }
  }

  // The keyboard: up and down through headings and rows, as in a tree

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.button) return;
    const keys = {
      ArrowDown: () => this.enter("first") || this.panel.focusNext(this, 1),
      ArrowUp: () => this.panel.focusNext(this, -1),
      ArrowRight: () => (this.isShown ? this.enter("first") : this.toggle(true)),
      ArrowLeft: () => this.toggle(false),
      Home: () => this.panel.focusEnd(0),
      End: () => this.panel.focusEnd(-1),
    };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }

  /** Put the keyboard on the first or last row; false if none is there. */
  enter(which) {
    const items = this.view?.grid.tree.items ?? [];
    if (!this.isShown || !items.length || this.view.tasksPanel.hidden) return false;
    this.view.grid.activate(items.at(which === "first" ? 0 : -1).key);
    return true;
  }

  /** The ends of the list lead on to the next heading; Escape and the left end lead back to this one. */
  onBodyKey(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.button.focus();
    }
  }

  /** The list's own keys come first, so these are looked at before it gets them. */
  leavesList(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.matches?.(".asyncnb-viewport [role=row]")) return false;
    const { tree, active } = this.view.grid;
    const at = tree.index.get(active) ?? 0;
    if (event.key === "ArrowUp" && at === 0) this.button.focus();
    else if (event.key === "ArrowDown" && at === tree.items.length - 1) this.panel.focusNext(this, 1);
    else if (event.key === "ArrowLeft" && tree.items[at]?.depth === 0 && !tree.items[at].open) this.button.focus();
    else return false;
    return true;
  }

  destroy() {
    clearTimeout(this.leaving);
    this.drop();
    this.node.remove();
  }
}
Section.made = 0;
