// One running kernel: whether it has asyncnb, and what it says of its tasks.

const PROBE_INTERVAL = 1000; // milliseconds between two questions whether asyncnb is loaded, at least
const MAX_RETRY = 60000;
const MAX_SILENT = 4; // questions without any answer, after which the kernel is "foreign"
const REST_AFTER = 10000; // without anything to report
const OWN_AFTER = 1000; // the notebook that is being opened has its connection by then

class Entry {
  constructor(kernels, id) {
    this.kernels = kernels;
    this.id = id;
    this.name = this.path = this.type = this.kernelName = "";
    this.panel = null; // the notebook open in this page
    // "unknown" | "absent" (asyncnb is not loaded) | "loaded" | "foreign" (no Python kernel of IPython)
    // | "restarting" | "disconnected" | "dead"
    this.state = "unknown";
    this.note = null; // what `load` waits for, as a sentence
    this.summary = null; // the newest
    this.protocol = new Channel(null);
    this.protocol.onTrouble = () => {
      this.isTroubled = this.asksAgain = true;
      this.retry();
    };
    this.connection = null;
    this.isOwn = false; // the connection
    this.life = 0; // grows with each process of the kernel and each connection: older answers are void
    this.session = null; // of the kernel's process
    this.silent = this.failures = 0;
    this.onStatus = this.onStatus.bind(this);
    this.onConnection = this.onConnection.bind(this);
    this.onMessage = this.onMessage.bind(this);
    this.onDisposed = () => this.kernels.refreshSoon();
    this.summaries = this.protocol.subscribe("summary", (message) => this.takeSummary(message));
    this.rows = 0; // subscriptions
    this.activity = undefined; // of the kernel, as the server noted it while there was a connection
  }

  /** The channel to a kernel that has asyncnb; null otherwise. */
  get channel() {
    return this.state === "loaded" ? this.protocol : null;
  }

  /** How many tasks are living. */
  get living() {
    return this.summary?.counts?.running ?? 0;
  }

  changed() {
    this.kernels.changed.emit(this);
  }

  setState(state) {
    if (this.isDisposed || this.state === state) return;
    this.state = state;
    this.changed();
  }

  // The connection: the notebook's if it is open here, otherwise our own, while it is needed

  /** Take what the lists of JupyterLab say; `connection` is that of the notebook open here. */
  update(connection, model) {
    if (model?.execution_state === "dead") return this.die();
    if (this.state === "dead") this.setState("unknown"); // the server has started it again
    if (this.connection?.isDisposed || (!connection && !this.isOwn)) this.attach(null, false);
    if (connection) return this.attach(connection, false);
    const activity = model ? `${model.execution_state} ${model.last_activity}` : null;
    if (this.isOwn) {
      this.activity = activity;
      // The server answers, so this may, too.
      if (this.connection.connectionStatus === "disconnected") this.connection.reconnect().catch(() => {});
    } else if (!document.hidden && (this.isNeeded() || (this.activity !== undefined && activity !== this.activity))) {
      this.wakeSoon();
    } else this.activity ??= activity;
    this.restSoon();
  }

  attach(connection, isOwn) {
    if (connection === this.connection) return;
    const before = this.connection;
    if (before) {
      before.statusChanged.disconnect(this.onStatus);
      before.connectionStatusChanged.disconnect(this.onConnection);
      before.iopubMessage.disconnect(this.onMessage);
      before.disposed.disconnect(this.onDisposed);
      this.protocol.attach(null);
      if (this.isOwn && !before.isDisposed) before.dispose();
    }
    this.connection = connection;
    this.isOwn = isOwn;
    this.life++;
    for (const timer of [this.timer, this.waking]) clearTimeout(timer);
    this.timer = this.waking = null;
    if (!connection) return;
    connection.statusChanged.connect(this.onStatus);
    connection.connectionStatusChanged.connect(this.onConnection);
    connection.iopubMessage.connect(this.onMessage);
    connection.disposed.connect(this.onDisposed);
    this.protocol.attach(connection);
    if (AWAY.has(connection.status)) this.onStatus(connection, connection.status);
    else if (connection.connectionStatus === "connected") this.probeSoon();
  }

  isNeeded() {
    return this.state === "unknown" || this.state === "restarting" || this.state === "disconnected" || this.rows > 0 || this.living > 0 || Boolean(this.loading);
  }

  wakeSoon() {
    if (this.waking) return;
    if (this.isForeign()) return this.setState("foreign");
    const { restored } = this.kernels.app;
    this.waking = setTimeout(() => void restored.then(() => this.waking && this.wake()), OWN_AFTER);
  }

  wake() {
    clearTimeout(this.waking);
    this.waking = null;
    if (!this.connection && !this.isDisposed) this.attach(this.kernels.connect(this), true);
  }

  /**
   * Release our own connection when it has had nothing to report for a while: servers count them,
   * end idle kernels only without any, and keep the output for a page that comes back only then.
   */
  restSoon() {
    if (!this.isOwn || this.resting) return;
    this.resting = setTimeout(() => {
      this.resting = null;
      if (!this.isOwn || this.loading || (this.isNeeded() && !document.hidden)) return;
      this.summaries.end();
      this.attach(null, false);
      // The server counts this end as activity of the kernel: what comes after it is news.
      this.activity = undefined;
      const note = () => this.kernels.refresh();
      setTimeout(() => this.kernels.app.serviceManager.kernels.refreshRunning().then(note, note), 500);
    }, REST_AFTER);
  }

  onStatus(_, status) {
    if (status === "dead") this.die();
    else if (AWAY.has(status)) this.renew();
    else if (this.state === "restarting" && !this.timer) this.retry(); // the restart was refused
  }

  onConnection(connection, status) {
    if (status === "connected") return this.probeSoon();
    this.life++;
    this.protocol.cut();
    if (connection.isDisposed || this.state === "restarting" || this.state === "dead") return;
    if (status === "disconnected" || this.state !== "unknown") this.setState("disconnected");
  }

  onMessage(connection, message) {
    const { header, parent_header: parent, content } = message;
    const type = header.msg_type;
    if (header.session === connection.clientId) return; // made by the server
    if (type === "status" && AWAY.has(content.execution_state)) return; // the same
    if (type === "shutdown_reply") {
      if (content.restart) this.renew(); // by another page
      return;
    }
    if (parent?.msg_type === "shutdown_request") return;
    if (this.session !== header.session) {
      const isOther = this.session !== null;
      this.session = header.session;
      if (isOther) {
        this.renew();
        this.probeSoon();
      }
    }
    const hasEnded = type === "status" && content.execution_state === "idle" && parent?.msg_type === "execute_request";
    if (hasEnded && !this.protocol.isReady && this.silent < MAX_SILENT) this.probeSoon();
  }

  /** The kernel's process ends, and another one takes its place. */
  renew() {
    this.life++;
    this.session = null;
    this.silent = this.failures = 0;
    this.protocol.cut();
    this.summary = null;
    if (this.state === "restarting") this.changed();
    this.setState("restarting");
    this.retry();
  }

  die() {
    this.life++;
    this.protocol.cut();
    this.summary = null;
    this.setState("dead");
  }

  // Has it asyncnb?

  isForeign() {
    const language = this.kernels.language(this.kernelName);
    return Boolean(language) && language !== "python";
  }

  probeSoon() {
    if (this.isDisposed || !this.connection || this.state === "dead") return;
    if (this.asking) {
      this.asksAgain = true;
      return;
    }
    clearTimeout(this.timer);
    const wait = Math.max(0, (this.asked ?? 0) + PROBE_INTERVAL - performance.now());
    this.timer = setTimeout(() => void this.probe(), wait);
  }

  /** Ask later, each time after a longer while. */
  retry() {
    if (this.isDisposed || this.asking) return;
    clearTimeout(this.timer);
    const wait = Math.min(MAX_RETRY, 2000 * 2 ** this.failures++);
    this.timer = setTimeout(() => void this.probe(), wait);
  }

  async probe() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.isForeign()) return this.setState("foreign");
    if (this.asking || !this.protocol.isConnected) return; // asked when it is connected
    const { life } = this;
    this.asking = true;
    this.asksAgain = false;
    this.asked = performance.now();
    let isLoaded = null;
    try {
      isLoaded = await this.protocol.probe();
    } catch (error) {
      if (!(error instanceof ChannelError)) console.error(error);
    }
    this.asking = false;
    if (this.isDisposed) return;
    if (life !== this.life) this.probeSoon(); // the answer of another process, or through a lost connection
    else if (isLoaded === null) this.onSilence();
    else this.onAnswer(isLoaded);
    if (this.asksAgain) this.probeSoon();
  }

  onSilence() {
    if (this.protocol.isReady || ++this.silent < MAX_SILENT) this.retry();
    if (!this.protocol.isReady && this.state === "unknown") this.setState("foreign");
  }

  onAnswer(isLoaded) {
    this.silent = 0;
    if (isLoaded) {
      if (!this.protocol.isReady || this.isTroubled) {
        this.isTroubled = false;
        this.resumed = performance.now();
        this.protocol.resume();
      }
      this.setState("loaded");
    } else {
      this.failures = 0;
      this.protocol.pause();
      this.summary = null;
      this.setState("absent");
    }
    this.restSoon();
  }

  takeSummary(message) {
    if (message.k === "bye") {
      this.protocol.pause();
      this.summary = null;
      this.setState("absent");
      return this.probeSoon(); // it may have been loaded again
    }
    if (message.k !== "summary") return;
    // Otherwise what is refused each time would be asked for each two seconds.
    if (performance.now() - this.resumed > MAX_RETRY) this.failures = 0;
    this.summary = message;
    this.changed();
    this.restSoon();
  }

  // What others ask of it

  /** Wait until our own connection is there; a ChannelError if it does not come. */
  async connected(timeout = 10000) {
    this.wake();
    if (this.protocol.isConnected) return;
    if (!this.connection) throw new ChannelError("The kernel is not connected.", "lost");
    await new Promise((resolve, reject) => {
      const { connection } = this;
      const end = (settle, value) => {
        clearTimeout(timer);
        connection.connectionStatusChanged.disconnect(look);
        settle(value);
      };
      const look = (_, status) => status === "connected" && end(resolve);
      const timer = setTimeout(() => end(reject, new ChannelError("The kernel is not connected.", "lost")), timeout);
      connection.connectionStatusChanged.connect(look);
    });
  }

  /** Send a request of the protocol; its reply's content, or a ChannelError. */
  async request(content) {
    if (this.state !== "loaded") throw new ChannelError(this.whyNot(), "refused");
    await this.connected();
    return this.protocol.request(content);
  }

  whyNot() {
    const name = this.name || "This notebook";
    return {
      absent: `${name} has not loaded asyncnb: run %load_ext asyncnb in it, or load it in the Tasks panel.`,
      foreign: `${name} has no kernel of IPython, so it cannot load asyncnb.`,
      restarting: `The kernel of ${name} is restarting.`,
      disconnected: `${name} is not connected to its kernel.`,
      dead: `The kernel of ${name} has died: restart it.`,
    }[this.state] ?? `The kernel of ${name} has not answered yet.`;
  }

  /** End what a cell runs: the text of what was done, or a ChannelError. */
  async requestStop(cellId) {
    return (await this.request({ c: "stop_cell", cell_id: cellId })).text;
  }

  /** Cancel all tasks that were launched there. */
  async cancelAll() {
    return (await this.request({ c: "cancel_all" })).text;
  }

  /** Receive the rows, from a snapshot on; returns {post, dispose}. */
  openRows(receive) {
    this.rows++;
    this.wake();
    const subscription = this.protocol.subscribe("rows", receive);
    let isOpen = true;
    return {
      post: (content) => subscription.post(content),
      dispose: () => {
        if (!isOpen) return;
        isOpen = false;
        this.rows--;
        subscription.dispose();
        this.restSoon();
      },
    };
  }

  /** Run `%load_ext asyncnb` there; resolves when it is loaded, else rejects with a sentence. */
  load() {
    if (this.state === "loaded") return Promise.resolve();
    this.loading ??= this.execute().finally(() => {
      this.loading = null;
      this.setNote(null);
      this.restSoon();
    });
    return this.loading;
  }

  async execute() {
    if (this.state === "foreign" || this.state === "dead") throw new ChannelError(this.whyNot(), "refused");
    this.setNote("Loading asyncnb.");
    await this.connected();
    // A new connection does not know the status of a kernel that runs a cell.
    const wait = this.connection.status === "busy" ? 0 : 1000;
    const slow = setTimeout(() => this.setNote("asyncnb will be loaded when the running cell has ended."), wait);
    try {
      await this.runLoad();
    } finally {
      clearTimeout(slow);
    }
    if (await this.protocol.probe()) return this.onAnswer(true);
    throw new ChannelError("%load_ext asyncnb ran without an error, but the kernel does not report asyncnb. An older version may be installed there.", "refused");
  }

  async runLoad() {
    let content;
    do {
      const code = "%load_ext asyncnb";
      const future = this.connection.requestExecute({ code, silent: true, store_history: false, allow_stdin: false, stop_on_error: false });
      try {
        content = (await future.done).content;
      } catch {
        throw new ChannelError("The kernel was restarted, or its connection closed, before asyncnb was loaded.", "lost");
      }
    } while (content.status === "aborted"); // the cell before it failed
    if (content.status !== "ok") throw new ChannelError(loadError(content), "refused");
  }

  setNote(note) {
    if (this.note === note || this.isDisposed) return;
    this.note = note;
    this.changed();
  }

  dispose() {
    if (this.isDisposed) return;
    this.isDisposed = true;
    this.attach(null, false);
    for (const timer of [this.timer, this.resting, this.waking]) clearTimeout(timer);
    this.waking = null;
    this.protocol.dispose();
    this.summary = null;
  }
}

function loadError({ ename, evalue }) {
  if (ename === "ModuleNotFoundError" && evalue.includes("'asyncnb'")) {
    return "asyncnb is not installed in the environment of this kernel: run %pip install asyncnb in it, then load again.";
  }
  return `%load_ext asyncnb failed: ${ename}: ${evalue}`;
}
