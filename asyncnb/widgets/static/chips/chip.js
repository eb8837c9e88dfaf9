// Chips: one line for a task, in the cell that displays it. All chips of a kernel share one Store and
// one connection (the hub's); a chip is a place in the page that the hub draws. Only chips in sight
// get updates, so a thousand of them cost no more than those that are visible.

class ChipHub {
  constructor(model) {
    this.store = new Store((message) => model.send(message));
    this.store.sync = () => this.watch(true);
    this.style = model.get("css");
    this.chips = new Set(); // those on the page
    this.seen = new Set(); // those in sight
    this.watched = "";
    this.visibleIds = () => [...this.seen].map((chip) => chip.id);
    this.node = document.body;
    this.sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.seen.add(target.asyncnbChip);
        else this.seen.delete(target.asyncnbChip);
      }
      this.watchSoon();
      this.changed();
    });
    model.on("msg:custom", (message, buffers) => {
      this.store.receive(message, buffers);
      for (const chip of this.seen) chip.remember();
    });
    this.undo = this.store.watchConnection(model);
    this.store.views.add(this);
  }

  watchSoon() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.watch();
    }, 50);
  }

  /** Tell the kernel which visible tasks have not ended. */
  watch(force = false) {
    const ids = [...this.seen].filter((chip) => !chip.isOver).map((chip) => chip.id).sort((a, b) => a - b);
    if (this.store.connection === "lost" || (!force && ids.join() === this.watched)) return;
    this.watched = ids.join();
    if (!this.store.post({ c: "watch", ids })) this.store.lose("the kernel is gone");
    else if (ids.length) {
      this.store.setVisible(true);
      this.store.expectAnswer();
    }
  }

  changed() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      for (const chip of this.seen) chip.paint();
    });
    const ticks = [...this.seen].some((chip) => chip.ticks);
    if (ticks && !this.ticking) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.ticking = setTimeout(() => {
        this.ticking = null;
        this.changed();
      }, calm ? CALM_TICK : TICK);
    }
  }

  announce(text, isError) {
    for (const chip of this.seen) if (isError && chip.asked) chip.announce(text);
  }

  mount(el, id, text) {
    const root = el.getRootNode();
    const head = root instanceof ShadowRoot ? root : document.head;
    if (!head.querySelector("style[data-asyncnb-chip]"))
      head.append(h("style", { "data-asyncnb-chip": "", text: this.style }));
    const chip = new Chip(this, id, text);
    el.replaceChildren(chip.node);
    this.chips.add(chip);
    this.sight.observe(chip.node);
    return () => {
      this.sight.unobserve(chip.node);
      this.chips.delete(chip);
      this.seen.delete(chip);
      this.watchSoon();
    };
  }

  destroy() {
    this.undo();
    this.sight.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.ticking);
    cancelAnimationFrame(this.frame);
  }
}

class Chip {
  constructor(hub, id, text) {
    this.hub = hub;
    this.id = id;
    this.icon = icon("pending", "asyncnb-state-icon");
    this.name = h("span", { class: "asyncnb-chip-name", text });
    this.state = h("span", { class: "asyncnb-chip-state" });
    this.time = h("span", { class: "asyncnb-chip-time" });
    this.fill = h("span", { class: "asyncnb-fill" });
    this.bar = h("span", { class: "asyncnb-bar", role: "progressbar", "aria-valuemin": 0, hidden: "" }, this.fill);
    this.amount = h("span", { class: "asyncnb-chip-amount" });
    this.note = h("span", { class: "asyncnb-chip-note" });
    this.cancel = h("button", { type: "button", class: "asyncnb-button", hidden: "", on: { click: () => this.ask() } }, icon("cancel"));
    this.node = h(
      "div",
      { class: "asyncnb-chip", role: "group", "data-lm-suppress-shortcuts": "true" },
      this.icon, this.name, this.state, this.time, this.bar, this.amount, this.note, this.cancel,
    );
    this.node.asyncnbChip = this;
  }

  get row() {
    return this.hub.store.rows.get(this.id) ?? this.last;
  }

  get isOver() {
    return this.row !== undefined && isEnded(this.row);
  }

  get ticks() {
    return this.row !== undefined && !this.isOver && this.hub.store.connection !== "lost";
  }

  /** Keep the row: the store has only those of tasks that are in sight and have not ended. */
  remember() {
    this.last = this.hub.store.rows.get(this.id) ?? this.last;
  }

  ask() {
    this.asked = true;
    this.hub.store.command("cancel", { id: this.id });
  }

  announce(text) {
    this.asked = false;
    setText(this.note, text);
  }

  paint() {
    const { store } = this.hub;
    const { row } = this;
    const isLost = store.connection === "lost" && !this.isOver;
    setHidden(this.cancel, !row || this.isOver || isLost);
    if (!row) {
      if (isLost) setText(this.state, "not connected");
      return;
    }
    const { state } = row;
    const css = `asyncnb-chip asyncnb-is-${isLost ? "pending" : state}`;
    if (this.node.className !== css) this.node.className = css;
    setIcon(this.icon, state);
    setText(this.name, row.name);
    setAttribute(this.node, "aria-label", `Task ${row.name}`);
    setText(this.state, isLost ? "not connected" : state);
    const now = isLost ? store.lostAt : store.now();
    setText(this.time, row.started === null ? "" : duration((row.ended ?? now) - row.started));
    const known = row.done !== null && row.total > 0;
    setHidden(this.bar, !known);
    if (known) {
      this.fill.style.transform = `scaleX(${Math.min(1, row.done / row.total).toFixed(4)})`;
      setAttribute(this.bar, "aria-label", `Progress of ${row.name}`);
      setAttribute(this.bar, "aria-valuenow", row.done);
      setAttribute(this.bar, "aria-valuemax", row.total);
    }
    setText(this.amount, row.done === null ? "" : row.total === null ? amount(row.done) : `${amount(row.done)}/${amount(row.total)}`);
    if (this.isOver) this.asked = false;
    if (!this.asked) setText(this.note, row.note || callsNote(row, now) || (this.isOver ? "" : row.waits_for));
    setAttribute(this.cancel, "aria-label", `Cancel ${row.name}`);
    setAttribute(this.cancel, "title", `Cancel ${row.name}`);
  }
}

export default () => ({
  initialize({ model }) {
    const hubs = (globalThis[Symbol.for("asyncnb.chips")] ??= new Map());
    const hub = new ChipHub(model);
    const key = model.get("key");
    hubs.get(key)?.waiting?.forEach((found) => found(hub));
    hubs.set(key, hub);
    return () => {
      if (hubs.get(key) === hub) hubs.delete(key);
      hub.destroy();
    };
  },
});
