// What the kernel has sent: one Store for each widget, however many views show it.

const ANSWER_IN = 3000; // milliseconds without an answer, after which the kernel is shown as silent

const isEnded = (row) => row.isEnded;

class Store {
  constructor(send) {
    this.sendRaw = send;
    this.rows = new Map(); // by id, oldest first
    this.groups = new Map(); // open groups, by name
    this.children = new Map(); // of unfolded tasks: rows of what is inside, by id, by the parent's id
    this.innerRows = new Map(); // the same rows, by id
    this.insides = new Map(); // what is inside each task that was on the screen: how many, by id
    this.loop = {};
    this.can = [];
    this.format = null; // of the rows, from the snapshot: states, columns, limits
    this.counts = {}; // tasks by state
    this.connection = "connecting"; // then "live", "silent" or "lost"
    this.why = "";
    this.views = new Set();
    this.details = null;
    this.pending = new Map(); // unanswered commands, by request id
    this.clock = 0; // seconds by which the kernel's clock is ahead of the browser's
    this.seq = -1;
    this.received = 0; // messages since the last snapshot
    this.heard = 0; // messages ever
    this.structure = 0; // grows when rows come, go or move
    this.client = Math.random().toString(36).slice(2);
    this.commands = 0;
    this.visibleKey = "";
    this.unfoldedKey = "";
    this.isSampling = false;
  }

  /** The row of a task, also of one inside another. */
  find(id) {
    return this.rows.get(id) ?? this.innerRows.get(id);
  }

  canPause(row) {
    return this.can.includes("pause") && row.state !== "cancelling" && (row.isInner || row.kind === "loop");
  }

  /** The name of a task; for one inside another with the names above it: `crawl B/page 7`. */
  path(row) {
    const above = row.isInner ? this.find(row.parent) : null;
    return above ? `${this.path(above)}/${row.name}` : row.name;
  }

  // Views

  attach(view) {
    this.views.add(view);
    if (this.views.size === 1 && this.connection !== "lost") this.sync();
    else view.changed();
  }

  detach(view) {
    this.views.delete(view);
    if (!this.views.size) {
      clearTimeout(this.waiting);
      this.post({ c: "close" });
    } else this.setVisible();
  }

  changed() {
    for (const view of this.views) view.changed();
  }

  announce(text, isError = false) {
    for (const view of this.views) view.announce(text, isError);
  }

  now() {
    return Date.now() / 1000 + this.clock;
  }

  // To the kernel

  post(message) {
    try {
      this.sendRaw(message);
      return true;
    } catch {
      return false; // the comm is gone, and the kernel with it
    }
  }

  sync() {
    if (!this.post({ c: "sync" })) return this.lose("the kernel is gone");
    this.setVisible(true);
    this.expectAnswer();
  }

  expectAnswer() {
    clearTimeout(this.waiting);
    const { heard } = this;
    this.waiting = setTimeout(() => {
      if (this.heard !== heard || this.connection === "lost" || !this.views.size) return;
      this.connection = "silent";
      this.changed();
    }, ANSWER_IN);
  }

  /** Send a command; its answer calls `done` with {ok, text}. */
  command(verb, what = {}, done = null) {
    if (this.connection === "lost") return;
    const n = `${this.client}:${++this.commands}`;
    this.pending.set(n, { verb, id: what.id ?? null, group: what.group ?? null, done });
    if (!this.post({ c: verb, n, ...what })) this.lose("the kernel is gone");
    this.expectAnswer();
    this.changed();
  }

  isPending(id) {
    for (const each of this.pending.values()) if (each.id === id) return true;
    return false;
  }

  openDetails(id) {
    this.details = id === null ? null : { id, of: undefined };
    this.post({ c: "detail", id });
    this.changed();
  }

  /** Tell the kernel which rows are visible and which are unfolded: it samples these twice a second. */
  setVisible(force = false) {
    this.setUnfolded(force);
    this.setSampling(force);
    const list = this.ofViews((view) => view.visibleIds?.());
    const key = list.join();
    if (this.connection === "lost" || (!force && key === this.visibleKey)) return;
    this.visibleKey = key;
    this.post({ c: "view", ids: list });
  }

  setUnfolded(force) {
    if (![...this.views].some((view) => view.unfoldedIds)) return; // chips show no insides
    const list = this.ofViews((view) => view.unfoldedIds?.());
    const key = list.join();
    if (this.connection === "lost" || (!force && key === this.unfoldedKey)) return;
    this.unfoldedKey = key;
    for (const id of this.children.keys()) if (!list.includes(id)) this.forgetChildren(id);
    this.post({ c: "unfold", ids: list });
  }

  /** Tell the kernel whether a timeline is seen: it then notes what is inside tasks. */
  setSampling(force = false) {
    const on = [...this.views].some((view) => view.showsTimeline?.());
    if (this.connection === "lost" || (on === this.isSampling && !(force && on))) return;
    this.isSampling = on;
    this.post({ c: "sample", on });
  }

  ofViews(ask) {
    const ids = new Set();
    for (const view of this.views) for (const id of ask(view) ?? []) ids.add(id);
    return [...ids].sort((a, b) => a - b);
  }

  // From the kernel

  receive(message, buffers = []) {
    this.received++;
    this.heard++;
    if (this.connection === "lost" && message.k !== "snapshot") return;
    if (message.k === "snapshot") this.takeSnapshot(message, buffers);
    else if (message.k === "delta") this.takeDelta(message, buffers);
    else if (message.k === "ack") this.takeAnswer(message);
    else if (message.k === "detail") {
      if (this.details?.id === message.id) this.details = message;
    } else if (message.k === "timeline") for (const view of this.views) view.takeTimeline?.(message.data);
    else if (message.k === "bye") return this.lose("asyncnb was unloaded");
    if (message.k !== "delta" && this.connection !== "live") this.connection = "live";
    if (this.received % (this.format?.acknowledge ?? 1) === 0) this.post({ c: "seen", messages: this.received });
    this.changed();
  }

  takeSnapshot(message, buffers) {
    this.received = 1;
    this.connection = "live";
    this.rows.clear();
    this.children.clear();
    this.innerRows.clear();
    this.insides.clear();
    this.format = message.format;
    this.ended = new Set(this.format.ended);
    this.counts = Object.fromEntries(this.format.states.map((state) => [state, 0]));
    this.can = message.can ?? [];
    this.take(message, buffers);
  }

  takeDelta(message, buffers) {
    if (message.seq <= this.seq) return;
    if (!this.format || message.seq !== this.seq + 1) {
      // A message was lost, so the following ones cannot be applied.
      if (!this.syncing) this.sync();
      this.syncing = true;
      return;
    }
    this.connection = "live";
    this.take(message, buffers);
  }

  take(message, buffers) {
    this.syncing = false;
    this.seq = message.seq;
    this.clock = message.now - Date.now() / 1000;
    for (const text of message.texts) this.takeText(text);
    for (const values of message.calls ?? []) this.takeCalls(values);
    if (message.numbers) this.takeNumbers(message.numbers, (value) => value);
    else {
      const { buffer, byteOffset, byteLength } = buffers[0];
      const bytes = byteOffset % 8 ? buffer.slice(byteOffset, byteOffset + byteLength) : buffer;
      const doubles = new Float64Array(bytes, byteOffset % 8 ? 0 : byteOffset, byteLength / 8);
      this.takeNumbers(doubles, (value) => (Number.isNaN(value) ? null : value));
    }
    for (const id of message.gone ?? []) {
      const row = this.rows.get(id);
      if (!row) continue;
      this.counts[row.state]--;
      this.rows.delete(id);
      this.structure++;
    }
    if (message.groups) {
      this.groups = new Map(message.groups.map(([name, state]) => [name, { name, state }]));
      this.structure++;
    }
    if (message.loop) this.loop = message.loop;
    if (message.inner) this.takeInner(message.inner);
  }

  /** What is inside tasks: how many, of unfolded ones their children, of visible ones what they do. */
  takeInner({ counts = [], lists = [], rows = [] }) {
    for (const [id, ...numbers] of counts) {
      const now = Object.fromEntries(this.format.counts.map((word, i) => [word, numbers[i]]));
      if (!this.insides.get(id)?.running !== !now.running) this.structure++;
      this.insides.set(id, now);
    }
    for (const [parent, gone, named] of lists) {
      if (gone === null) this.forgetChildren(parent); // these are all
      let children = this.children.get(parent);
      if (!children) this.children.set(parent, (children = new Map()));
      for (const id of gone ?? []) {
        children.delete(id);
        if (this.innerRows.get(id)?.parent !== parent) continue; // it is inside another one by now
        this.innerRows.delete(id);
        this.forgetChildren(id);
      }
      for (let i = 0; i < named.length; i += 2) {
        const id = named[i];
        const row = this.newInnerRow(id, parent, named[i + 1]);
        row.search = this.path(row).toLowerCase();
        children.set(id, row);
        this.innerRows.set(id, row);
      }
      this.structure++;
    }
    const { states, inner } = this.format;
    for (const values of rows) {
      const row = this.innerRows.get(values[0]);
      if (!row) continue;
      inner.forEach((column, i) => (row[column] = values[i]));
      row.state = states[row.state];
      row.isEnded = this.ended.has(row.state);
    }
  }

  newInnerRow(id, parent, name) {
    // Only of those on the screen the kernel says what they do.
    const row = { isInner: true, isEnded: false, parked: false };
    for (const column of [...this.format.numbers, ...this.format.texts]) row[column] = null;
    return Object.assign(row, { id, parent, name, state: "", kind: "loop" });
  }

  forgetChildren(parent) {
    const children = this.children.get(parent);
    if (!children) return;
    this.children.delete(parent);
    for (const [id, row] of children) {
      if (row.parent !== parent || this.innerRows.get(id) !== row) continue;
      this.innerRows.delete(id);
      this.forgetChildren(id);
    }
    this.structure++;
  }

  takeText(values) {
    const text = Object.fromEntries(this.format.texts.map((column, i) => [column, values[i]]));
    let row = this.rows.get(text.id);
    if (!row) {
      row = { id: text.id, state: null, parked: false };
      this.rows.set(text.id, row);
    }
    if (row.group !== text.group || row.parent !== text.parent || row.name !== text.name) this.structure++;
    Object.assign(row, text);
    row.search = `${row.name}\n${row.group ?? ""}\nIn[${row.cell}]\n${row.note}`.toLowerCase();
  }

  /** What else is known of a run of many calls: failed, retried, its pace, limit and rate. */
  takeCalls(values) {
    const calls = Object.fromEntries(this.format.calls.map((column, i) => [column, values[i]]));
    const row = this.rows.get(calls.id);
    if (row) row.calls = calls;
  }

  takeNumbers(numbers, value) {
    const { states, numbers: columns } = this.format;
    const at = Object.fromEntries(columns.map((column, i) => [column, i]));
    const others = columns.filter((column) => column !== "id" && column !== "state");
    for (let i = 0; i < numbers.length; i += columns.length) {
      const row = this.rows.get(numbers[i + at.id]);
      if (!row) continue;
      const state = states[numbers[i + at.state]];
      if (row.state !== state) {
        const isNew = row.state === null;
        if (!isNew) this.counts[row.state]--;
        this.counts[state]++;
        row.state = state;
        row.isEnded = this.ended.has(state);
        if (isNew || row.isEnded || this.filtersByState) this.structure++;
      }
      for (const column of others) row[column] = value(numbers[i + at[column]]);
    }
  }

  takeAnswer({ n, ok, text }) {
    const command = this.pending.get(n);
    this.pending.delete(n);
    command?.done?.({ ok, text });
    if (text && (command || n === null)) this.announce(text, !ok);
  }

  /** The kernel of these rows is gone. */
  lose(why) {
    clearTimeout(this.waiting);
    this.connection = "lost";
    this.why = why;
    this.lostAt = this.now();
    this.pending.clear();
    this.changed();
  }

  // The state of the connection, if the front end reports it (JupyterLab, Notebook 7)

  watchConnection(model) {
    const undo = [];
    const lost = () => {
      // The widget's view adds this class in a listener of the same event.
      setTimeout(() => {
        for (const view of this.views) {
          if (view.node.closest(".jupyter-widgets-disconnected")) return this.lose("the kernel was restarted");
        }
      });
    };
    model.on("comm_live_update", lost);
    const kernel = model.widget_manager?.kernel;
    const status = (_, now) => {
      if (["restarting", "autorestarting", "dead", "terminating"].includes(now))
        this.lose(now === "dead" || now === "terminating" ? "the kernel has ended" : "the kernel was restarted");
    };
    const connection = (_, now) => {
      if (this.connection === "lost" || !this.views.size) return;
      if (now === "connected") this.sync();
      else if (this.connection !== "connecting") {
        this.connection = "silent";
        this.changed();
      }
    };
    for (const [name, slot] of [["statusChanged", status], ["connectionStatusChanged", connection]]) {
      if (typeof kernel?.[name]?.connect !== "function") continue;
      kernel[name].connect(slot);
      undo.push(() => kernel[name].disconnect(slot));
    }
    return () => undo.forEach((f) => f());
  }
}
