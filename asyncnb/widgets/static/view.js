// One place where the tasks of a Store are shown: header, tabs, grid, details. The dashboard has one
// for each output that displays it, the panel of JupyterLab one for each notebook.

class View {
  /** `height`: the most pixels that the list takes. `show` puts the view on the page. */
  constructor(store, height) {
    this.store = store;
    this.grid = new Grid(store, height);
    this.detail = new Detail(store, () => this.closeDetails());
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.counts = new Map(); // buttons by state
    this.countBox = h("div", { class: "asyncnb-counts" });
    this.filter = h("input", { type: "search", class: "asyncnb-filter", placeholder: "Filter", "aria-label": "Filter tasks", spellcheck: "false", autocomplete: "off" });
    this.search = h("label", { class: "asyncnb-search" }, icon("search"), this.filter);
    this.cancelAll = h("button", { type: "button", class: "asyncnb-text-button asyncnb-danger", text: "Cancel all" });
    this.clear = h("button", { type: "button", class: "asyncnb-text-button", text: "Clear ended", title: "Forget the tasks that have ended" });
    this.background = h("button", { type: "button", class: "asyncnb-text-button", text: "Background", hidden: "", title: "Move the cell that is currently awaiting to the background" });
    this.loop = h("span", { class: "asyncnb-loop" });
    this.banner = h("div", { class: "asyncnb-banner", role: "alert", hidden: "" });
    this.status = h("div", { class: "asyncnb-status", role: "status" });
    this.tabs = ["Tasks", "Timeline"].map((name, i) =>
      h("button", { type: "button", role: "tab", class: "asyncnb-tab", id: `asyncnb-tab-${i}-${store.client}-${View.made}`, "aria-selected": i === 0, tabindex: i === 0 ? 0 : -1, text: name }));
    this.timelinePanel = h("div", { role: "tabpanel", class: "asyncnb-panel asyncnb-timeline", "aria-labelledby": this.tabs[1].id, hidden: "" });
    this.tasksPanel = h("div", { role: "tabpanel", class: "asyncnb-panel", "aria-labelledby": this.tabs[0].id }, this.grid.node, this.detail.node);
    View.made++;
    this.tablist = h("div", { role: "tablist", class: "asyncnb-tabs", "aria-label": "Views" }, ...this.tabs);
    this.node = h(
      "div",
      // JupyterLab's shortcuts (`dd` deletes a cell) must not act on the notebook from in here.
      { class: "asyncnb-dashboard", "data-lm-suppress-shortcuts": "true", "data-jp-suppress-context-menu": "" },
      this.toolbar(),
      this.banner,
      this.tasksPanel,
      this.timelinePanel,
      this.status,
    );
    this.listen();
  }

  toolbar() {
    return h(
      "div",
      { class: "asyncnb-toolbar" },
      this.tablist,
      this.countBox,
      this.loop,
      h("div", { class: "asyncnb-tools" }, this.search, this.background, this.clear, this.cancelAll),
    );
  }

  /** Appear in `el`, and ask the kernel for rows. */
  show(el) {
    el.replaceChildren(this.node);
    this.resize = new ResizeObserver(() => this.changed());
    this.resize.observe(this.node);
    this.sight = new IntersectionObserver(([entry]) => {
      this.isSeen = entry.isIntersecting;
      if (this.isSeen) this.changed();
    });
    this.sight.observe(this.node);
    this.isSeen = true;
    this.store.attach(this);
    this.tick();
  }

  /** Ask for no more rows, and show the last ones, until `wake`. */
  rest() {
    for (const timer of [this.ticking, this.looking]) clearTimeout(timer);
    this.looking = null;
    this.store.detach(this);
  }

  wake() {
    this.store.attach(this);
    this.tick();
  }

  /** Set the most pixels that the list takes. */
  setHeight(height) {
    if (this.grid.height === height) return;
    this.grid.height = height;
    this.changed();
  }

  listen() {
    this.grid.onSchedule = () => this.changed();
    this.grid.onGo = (row) => this.goToCell(row);
    this.filter.addEventListener("input", () => this.setFilter(this.filter.value.trim()));
    this.filter.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "ArrowDown" && this.grid.active !== null) {
        event.preventDefault();
        this.grid.activate(this.grid.active);
      } else if (event.key === "Escape" && this.filter.value) {
        event.preventDefault();
        this.filter.value = "";
        this.filter.dispatchEvent(new Event("input"));
      }
    });
    this.cancelAll.addEventListener("click", () => this.store.command("cancel_all"));
    this.background.addEventListener("click", () => this.store.command("background"));
    this.clear.addEventListener("click", () => this.store.command("clear"));
    this.node.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.ctrlKey && !event.metaKey && event.target.tagName !== "INPUT") {
        event.preventDefault();
        this.focusFilter();
      } else if (event.key === "Escape" && this.store.details) {
        event.preventDefault();
        this.closeDetails();
      }
    });
    for (const [i, tab] of this.tabs.entries()) {
      tab.addEventListener("click", () => this.select(i));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
        event.preventDefault();
        this.select(1 - i);
        this.tabs[1 - i].focus();
      });
    }
  }

  focusFilter() {
    this.filter.focus();
  }

  /** Show only the rows with these words, and those above them. */
  setFilter(text) {
    if (this.grid.tree.text === text) return;
    this.grid.tree.text = text;
    this.grid.viewport.scrollTop = 0;
    this.grid.rebuild();
  }

  select(chosen) {
    for (const [i, tab] of this.tabs.entries()) {
      setAttribute(tab, "aria-selected", i === chosen);
      setAttribute(tab, "tabindex", i === chosen ? 0 : -1);
    }
    setHidden(this.tasksPanel, chosen !== 0);
    setHidden(this.timelinePanel, chosen !== 1);
    setHidden(this.search, chosen !== 0); // the timeline has its own
    if (chosen === 1) this.showTimeline();
    this.changed();
  }

  showTimeline() {
    this.timeline ??= mountTimeline(this.timelinePanel, { onRequest: () => this.askForTimeline() });
    this.store.setSampling();
    this.askForTimeline();
  }

  showsTimeline() {
    return this.isSeen && !this.timelinePanel.hidden;
  }

  askForTimeline() {
    this.timelineAsked = { at: Date.now(), seq: this.store.seq };
    this.store.post({ c: "timeline" });
  }

  takeTimeline(data) {
    this.timelineGrows = data.rows.some((row) => row.sampled && row.ended === null);
    this.timeline?.update(data);
  }

  /** While it is shown: ask again after a change, at most once a second; and how long samples got. */
  keepTimeline() {
    if (this.timelinePanel.hidden) return;
    const wait = this.store.seq !== this.timelineAsked.seq ? 1000 : this.timelineGrows ? 5000 : Infinity;
    if (Date.now() - this.timelineAsked.at > wait) this.askForTimeline();
  }

  /** The button that counts the tasks of one state and filters by it. */
  countOf(state) {
    let button = this.counts.get(state);
    if (!button) {
      button = h("button", { type: "button", class: `asyncnb-count asyncnb-is-${state}`, "aria-pressed": "false", hidden: "",
        on: { click: () => this.toggleState(state) } }, icon(state, "asyncnb-state-icon"), h("span"), h("span", { class: "asyncnb-count-word", text: ` ${state}` }));
      this.counts.set(state, button);
      this.countBox.append(button);
    }
    return button;
  }

  toggleState(state) {
    const { states } = this.grid.tree;
    if (this.tasksPanel.hidden) {
      states.add(state); // a click on a count asks to see these tasks
      this.select(0);
    } else if (!states.delete(state)) states.add(state);
    this.grid.viewport.scrollTop = 0;
    this.grid.rebuild();
  }

  closeDetails() {
    const id = this.store.details?.id;
    this.store.openDetails(null);
    if (id !== undefined && this.detail.node.contains(document.activeElement)) this.grid.focusRow(`t:${id}`);
  }

  // Painting, at most once a frame.

  changed() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    // Not while it is hidden (a theme is loading, another tab is open): a hidden list reports that it
    // is scrolled to its top. When it is shown again, its size changes and this is called again.
    if (!this.node.isConnected || !this.node.clientHeight) return;
    this.paintHeader();
    if (!this.tasksPanel.hidden) {
      this.grid.paint();
      this.detail.paint();
    }
    // Not restarted with each paint: while much changes, it would never fire.
    this.looking ??= setTimeout(() => {
      this.looking = null;
      this.store.setVisible();
    }, 250);
  }

  paintHeader() {
    const { store } = this;
    let living = 0;
    for (const [state, n] of Object.entries(store.counts)) {
      const button = this.countOf(state);
      const isOn = this.grid.tree.states.has(state);
      setHidden(button, n === 0 && !isOn);
      setText(button.children[1], n.toLocaleString("en"));
      setAttribute(button, "aria-pressed", isOn);
      setAttribute(button, "title", isOn ? "Show all states" : `Show only ${state} tasks`);
      if (!store.ended.has(state)) living += n;
    }
    const isLost = store.connection === "lost";
    this.cancelAll.disabled = isLost || living === 0;
    setHidden(this.background, isLost || !store.loop.awaiting);
    this.clear.disabled = isLost || living === store.rows.size;
    setAttribute(this.node, "data-connection", store.connection);
    const { blocked } = store.loop;
    setText(this.loop, isLost ? "" : store.loop.state === "ended" ? "loop ended" : this.lagText());
    setAttribute(this.loop, "title", isLost ? "" : this.slowText());
    let text = "";
    if (isLost) text = this.lostText();
    else if (store.connection === "silent") text = "Not connected: no answer from the kernel. This may be out of date.";
    else if (blocked)
      text = `${blocked.name ?? "Something"} has blocked the loop for ${duration(store.now() - blocked.since, 0)}${blocked.where ? `, at ${blocked.where}` : ""}${blocked.call ? `: ${blocked.call}` : ""}. All other tasks are waiting.`;
    else if (store.loop.deadlocks?.length) text = store.loop.deadlocks.join(" ");
    setText(this.banner, text);
    setHidden(this.banner, !text);
  }

  lostText() {
    return `Not connected: ${this.store.why}. This is the last known state. Run the cell again for a new dashboard.`;
  }

  /** The lag of now, and the highest of the last minute with the step that took most of it. */
  lagText() {
    const { lag, highest, blocked } = this.store.loop;
    if (blocked || (!lag && !highest)) return "";
    const now = `loop lag now ${lag ?? 0} ms`;
    if (!highest) return now;
    return `${now}, highest in the last minute ${duration(highest.seconds)}: ${highest.name}${highest.where ? `, ${highest.where}` : ""}`;
  }

  /** What there is to say about steps that took long, for the tooltip. */
  slowText() {
    const { highest, longest = [] } = this.store.loop;
    const lines = highest ? [`${this.lagText()}${highest.call ? `: ${highest.call}` : ""}`] : [];
    return [...lines, ...(longest.length ? ["Longest steps:", ...longest] : [])].join("\n");
  }

  tick() {
    const interval = this.calm.matches ? CALM_TICK : TICK;
    this.ticking = setTimeout(() => this.tick(), interval);
    if (this.isSeen && !document.hidden && this.store.connection !== "lost") {
      this.grid.tick();
      this.keepTimeline();
      if (this.store.loop.blocked) this.paintHeader();
    }
  }

  announce(text, isError) {
    setText(this.status, text);
    this.status.classList.toggle("asyncnb-error", isError);
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => setText(this.status, ""), 8000);
  }

  visibleIds() {
    return this.isSeen && !this.tasksPanel.hidden ? this.grid.visibleIds() : [];
  }

  unfoldedIds() {
    return this.grid.unfoldedIds();
  }

  /** Scroll to the cell that launched a task, if the front end shows prompts as Jupyter does. */
  goToCell(row) {
    const page = this.node.closest(".jp-Notebook") ?? document;
    const prompt = [...page.querySelectorAll(".jp-InputPrompt")].find((node) => node.textContent.trim() === `[${row.cell}]:`);
    const cell = prompt?.closest(".jp-Cell");
    if (!cell) return this.announce(`In[${row.cell}] is not on this page, or has been run again since.`, true);
    cell.scrollIntoView({ block: "center", behavior: this.calm.matches ? "auto" : "smooth" });
    cell.classList.add("asyncnb-pointed-at");
    setTimeout(() => cell.classList.remove("asyncnb-pointed-at"), 1600);
  }

  destroy() {
    this.store.detach(this);
    cancelAnimationFrame(this.frame);
    for (const timer of [this.ticking, this.looking, this.announcing]) clearTimeout(timer);
    this.resize?.disconnect();
    this.sight?.disconnect();
    this.timeline?.destroy?.();
  }
}
View.made = 0;
