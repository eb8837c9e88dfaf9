// All running kernels of this server, by their notebooks, and what is known of asyncnb in each.

class Kernels {
  constructor(app, modules, tracker) {
    this.app = app;
    this.modules = modules;
    this.tracker = tracker ?? null; // of the notebooks open in this page
    this.entries = new Map(); // Entry by kernel id, in the order of their names
    this.changed = new modules.signaling.Signal(this); // Signal<Kernels, Entry | null>; null: the list
    leaveStatusAlone(modules.labutils?.PageConfig);
    this.refresh = this.refresh.bind(this);
    this.refreshSoon = this.refreshSoon.bind(this);
    const { sessions, kernels, kernelspecs } = app.serviceManager;
    sessions.runningChanged.connect(this.refresh, this);
    kernels.runningChanged.connect(this.refresh, this); // also when a kernel has been active
    kernelspecs.specsChanged.connect(this.refresh, this);
    this.tracker?.widgetAdded.connect((_, panel) => this.follow(panel), this);
    this.tracker?.forEach((panel) => this.follow(panel));
    document.addEventListener("visibilitychange", this.refreshSoon);
    void sessions.ready.then(this.refresh, () => {});
  }

  /** The entry of the kernel of this notebook, if it has one. */
  of(panel) {
    const kernel = panel?.sessionContext?.session?.kernel;
    if (!kernel) return undefined;
    if (!this.entries.has(kernel.id)) this.refresh(); // it has just come
    return this.entries.get(kernel.id);
  }

  follow(panel) {
    const context = panel.sessionContext;
    for (const signal of [context.kernelChanged, context.sessionChanged, context.propertyChanged, panel.disposed]) signal.connect(this.refreshSoon, this);
    this.refreshSoon();
  }

  /** After the signal that asks for it: what it reports may not be done yet. */
  refreshSoon() {
    this.refreshing ??= setTimeout(this.refresh);
  }

  refresh() {
    clearTimeout(this.refreshing);
    this.refreshing = null;
    if (this.isDisposed) return;
    const found = this.find();
    let isNew = false;
    for (const [id, entry] of this.entries) {
      if (found.has(id)) continue;
      this.entries.delete(id);
      entry.dispose();
      isNew = true;
    }
    const names = namesOf([...found.values()]);
    for (const [id, model] of found) {
      let entry = this.entries.get(id);
      if (!entry) {
        entry = new Entry(this, id);
        this.entries.set(id, entry);
        isNew = true;
      }
      const name = names.get(model);
      if (entry.name !== name || entry.path !== model.path || entry.panel !== model.panel) isNew = true;
      Object.assign(entry, { name, path: model.path, type: model.type, kernelName: model.kernelName, panel: model.panel });
    }
    const sorted = [...this.entries].sort(([, a], [, b]) => compare(a.name, b.name) || compare(a.id, b.id));
    if (isNew) {
      this.entries.clear(); // the same map, since others hold it
      for (const [id, entry] of sorted) this.entries.set(id, entry);
    }
    const { kernels } = this.app.serviceManager;
    const models = new Map([...kernels.running()].map((model) => [model.id, model]));
    for (const [id, entry] of sorted) entry.update(found.get(id).connection, models.get(id));
    if (isNew) this.changed.emit(null);
  }

  /** What there is for each kernel id: {path, type, name, kernelName, panel, connection}. */
  find() {
    const found = new Map();
    for (const { path, type, name, kernel } of this.app.serviceManager.sessions.running()) {
      if (!kernel || (found.has(kernel.id) && type !== "notebook")) continue; // a console of a notebook's
      found.set(kernel.id, { path, type, name, kernelName: kernel.name, panel: null, connection: null });
    }
    this.tracker?.forEach((panel) => {
      const session = panel.sessionContext?.session;
      const connection = session?.kernel;
      if (panel.isDisposed || !connection || connection.isDisposed) return;
      const { path, type, name } = session;
      found.set(connection.id, { path, type, name, kernelName: connection.name, panel, connection });
    });
    return found;
  }

  /** A connection for a kernel whose notebook is not open here. */
  connect(entry) {
    return this.app.serviceManager.kernels.connectTo({ model: { id: entry.id, name: entry.kernelName }, handleComms: false });
  }

  /** The language of a kernel by its specification; undefined if there is none. */
  language(kernelName) {
    return this.app.serviceManager.kernelspecs.specs?.kernelspecs[kernelName]?.language?.toLowerCase();
  }

  dispose() {
    this.isDisposed = true;
    clearTimeout(this.refreshing);
    document.removeEventListener("visibilitychange", this.refreshSoon);
    for (const entry of this.entries.values()) entry.dispose();
    this.entries.clear();
    this.modules.signaling.Signal.disconnectReceiver(this);
  }
}

/**
 * Have JupyterLab (4.5 and later) take no account of our requests in a kernel's status: each is answered
 * with "busy" and "idle", also while a cell runs.
 */
function leaveStatusAlone(config) {
  const option = "untracked_message_types";
  try {
    const types = new Set(JSON.parse(config.getOption(option) || "[]"));
    config.setOption(option, JSON.stringify([...types.add(REQUEST).add("comm_info_request")]));
  } catch (error) {
    console.warn("asyncnb: the status of kernels may flicker.", error);
  }
}

const compare = (a, b) => a.localeCompare(b, "en", { numeric: true });

/** The name of each: the file's, with as many of its folders as tell it from the others. */
function namesOf(models) {
  const names = new Map();
  const parts = (model) => (model.type === "notebook" || !model.name ? model.path.replace(/^[^/]*:/, "").split("/") : [model.name]);
  const byName = new Map();
  for (const model of models) {
    const last = parts(model).at(-1);
    if (!byName.has(last)) byName.set(last, []);
    byName.get(last).push(model);
  }
  for (const group of byName.values()) {
    for (let length = 1; ; length++) {
      const tried = group.map((model) => parts(model).slice(-length).join("/"));
      const isLongest = group.every((model) => parts(model).length <= length);
      if (new Set(tried).size < group.length && !isLongest) continue;
      group.forEach((model, index) => names.set(model, tried[index]));
      break;
    }
  }
  return names;
}
