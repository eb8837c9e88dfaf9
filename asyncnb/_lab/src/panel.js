// What the panel shows: the filter, a section for each notebook, the kernels without Python.

const FOLDED = "asyncnb:folded-notebooks"; // in the browser's storage: paths

/** All of it: the filter, the sections, the kernels without Python. */
export class TasksView {
  constructor(node, app, kernels, parts) {
    this.app = app;
    this.kernels = kernels;
    this.settings = parts.settings;
    this.sections = new Map(); // by kernel id
    const folded = recall(FOLDED, []);
    this.folded = new Set(Array.isArray(folded) ? folded : []); // paths
    this.text = "";
    this.isAwake = false;
    this.wanted = null; // {kernelId, cellId}: whose task to show when its row comes
    this.filter = h("input", { type: "search", class: "asyncnb-filter", placeholder: "Filter tasks of all notebooks", "aria-label": "Filter tasks of all notebooks", spellcheck: "false", autocomplete: "off" });
    this.list = h("div", { class: "asyncnb-notebooks" });
    this.foreign = h("ul");
    this.others = h("details", { class: "asyncnb-others", hidden: "" }, h("summary"), this.foreign);
    this.empty = h("div", { class: "asyncnb-nothing", hidden: "" },
      h("p", { text: "No notebook is running." }),
      h("p", {}, "In a notebook, type ", h("code", { text: "%load_ext asyncnb" }), " and start a cell with ", h("code", { text: "%%atask" }), ". Its task appears here."));
    this.status = h("div", { class: "asyncnb-status", role: "status" });
    this.node = h("div", { class: "asyncnb-dashboard asyncnb-tasks-panel", "data-lm-suppress-shortcuts": "true", "data-jp-suppress-context-menu": "" },
      h("div", { class: "asyncnb-panel-head" }, h("h2", { text: "Tasks" }), h("label", { class: "asyncnb-search" }, icon("search"), this.filter)),
      this.list, this.empty, this.others, this.status);
    node.replaceChildren(this.node);
    this.sight = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        target.asyncnbSection.isNear = isIntersecting;
        target.asyncnbSection.follow();
      }
    }, { root: this.list, rootMargin: "100px" });
    this.resize = new ResizeObserver(() => this.arrangeSoon());
    this.resize.observe(this.list);
    this.listen();
    this.onKernels = (_, entry) => this.update(entry);
    kernels.changed.connect(this.onKernels);
  }

  listen() {
    this.filter.addEventListener("input", () => this.setFilter(this.filter.value.trim()));
    this.filter.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.focusEnd(0);
      else if (event.key !== "Escape") return;
      else if (this.filter.value) {
        this.filter.value = "";
        this.setFilter("");
      } else this.leave();
      event.preventDefault();
      event.stopPropagation();
    });
    this.node.addEventListener("keydown", (event) => {
      const section = event.target.closest?.(".asyncnb-notebook")?.asyncnbSection;
      if (!section?.view || !section.leavesList(event)) return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
    this.node.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "/" && event.target.tagName !== "INPUT") this.filter.focus();
      else if (event.key === "Escape") this.leave();
      else return;
      event.preventDefault();
    });
  }

  /** Give the keyboard back to the notebook. */
  leave() {
    const current = this.app.shell.currentWidget;
    if (current) this.app.shell.activateById(current.id);
  }

  interval() {
    return this.settings.get("interval") ?? 0;
  }

  // Shown and hidden

  wake() {
    if (this.isAwake) return;
    this.isAwake = true;
    this.update(null);
  }

  /** Hidden: no section asks for rows. */
  rest() {
    this.isAwake = false;
    for (const section of this.sections.values()) section.follow();
  }

  focus() {
    if (!this.wanted) this.filter.focus();
  }

  /** Show the task of a cell: now, or when its row has come. */
  showTask(kernelId, cellId) {
    const section = this.sections.get(kernelId);
    if (!section) return;
    this.filter.value = "";
    this.setFilter("");
    this.wanted = { kernelId, cellId };
    section.toggle(true);
    section.view?.select(0);
    section.node.scrollIntoView({ block: "nearest" });
    section.view?.changed();
  }

  // The list of kernels

  update(entry) {
    if (!this.isAwake) return;
    if (entry && this.sections.has(entry.id) && entry.state !== "foreign") return this.sections.get(entry.id).update();
    const shown = [];
    const foreign = [];
    for (const each of this.kernels.entries.values()) (each.state === "foreign" ? foreign : shown).push(each);
    for (const [id, section] of this.sections) {
      if (shown.some((each) => each.id === id && each === section.entry)) continue;
      this.sight.unobserve(section.node);
      section.destroy();
      this.sections.delete(id);
    }
    let after = null;
    for (const each of shown) {
      let section = this.sections.get(each.id);
      if (!section) {
        this.sections.set(each.id, (section = new Section(this, each)));
        this.sight.observe(section.node);
      }
      const place = after ? after.nextSibling : this.list.firstChild;
      if (section.node !== place) this.list.insertBefore(section.node, place);
      after = section.node;
      section.update();
    }
    this.foreign.replaceChildren(...foreign.map((each) => h("li", { text: each.name || each.path || each.id, title: each.path })));
    setText(this.others.firstChild, count(foreign.length, "kernel") + " without Python");
    setHidden(this.others, foreign.length === 0);
    setHidden(this.empty, shown.length > 0);
    setHidden(this.list, shown.length === 0);
    this.arrangeSoon();
  }

  setFilter(text) {
    if (this.text === text) return;
    this.text = text;
    for (const section of this.sections.values()) {
      section.setFilter(text);
      section.update();
    }
    this.arrangeSoon();
  }

  /** Move the keyboard to the next heading; upwards first to the last row of the section before. */
  focusNext(section, step) {
    const all = [...this.list.children].map((node) => node.asyncnbSection);
    const next = all[all.indexOf(section) + step];
    if (!next) return step < 0 && this.filter.focus();
    if (step > 0 || !next.enter("last")) next.button.focus();
  }

  focusEnd(at) {
    [...this.list.children].at(at)?.asyncnbSection.button.focus();
  }

  // Heights: what the sections need, and if that is more than there is, shares of it

  arrangeSoon() {
    this.arranging ||= requestAnimationFrame(() => {
      this.arranging = 0;
      this.arrange();
    });
  }

  arrange() {
    const open = [...this.sections.values()].filter((each) => each.view && each.isShown && each.isLive);
    const key = [this.list.clientHeight, this.sections.size, ...open.map(({ view, number }) => [number, view.grid.tree.items.length, view.tasksPanel.hidden, view.detail.node.hidden])].join();
    if (key === this.arranged || !this.list.clientHeight) return;
    this.arranged = key;
    let room = this.list.clientHeight;
    for (const each of this.sections.values()) room -= each.node.offsetHeight;
    const lists = open.filter(({ view }) => !view.tasksPanel.hidden);
    for (const { view } of lists) room += view.grid.viewport.offsetHeight;
    let left = lists.length;
    const needed = (view) => Math.max(1, view.grid.tree.items.length) * ROW;
    for (const { view } of [...lists].sort((a, b) => needed(a.view) - needed(b.view))) {
      const height = Math.min(needed(view), Math.max(MIN_LIST, Math.floor(room / left / ROW) * ROW));
      view.setHeight(height);
      room -= height;
      left--;
    }
  }

  // Memory and messages

  remember({ entry, isOpen }) {
    if (isOpen) this.folded.delete(entry.path);
    else this.folded.add(entry.path);
    remember(FOLDED, [...this.folded].slice(-200));
  }

  announce(text, isError = false) {
    setText(this.status, text);
    this.status.classList.toggle("asyncnb-error", isError);
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => setText(this.status, ""), 8000);
  }

  destroy() {
    this.kernels.changed.disconnect(this.onKernels);
    this.rest();
    for (const section of this.sections.values()) section.destroy();
    clearTimeout(this.announcing);
    cancelAnimationFrame(this.arranging);
    this.sight.disconnect();
    this.resize.disconnect();
    this.node.remove();
  }
}
