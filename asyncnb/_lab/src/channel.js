// One kernel connection's part of the protocol (notebooks/reference/protocol.md): requests on the control
// channel, which a kernel answers while a cell blocks, and subscriptions, whose messages come on IOPub.

const REQUEST = "asyncnb_request";
const TARGET = "asyncnb"; // of the comm that a kernel with asyncnb lists
const ACKNOWLEDGE = 20; // messages, until a snapshot says otherwise

const AWAY = new Set(["restarting", "autorestarting", "dead"]);

/** A request that was refused, or could not be made; its message is a sentence for the page. */
class ChannelError extends Error {
  /** `kind`: "refused" by the kernel, "timeout", or "lost" with the connection. */
  constructor(message, kind) {
    super(message);
    this.name = "ChannelError";
    this.kind = kind;
  }
}

class Channel {
  constructor(connection) {
    this.subscriptions = new Set();
    this.byComm = new Map(); // those that the kernel knows
    this.pending = new Set(); // what ends each request that has no answer yet
    this.isReady = false; // whether the kernel has asyncnb: until then nothing is subscribed
    this.onTrouble = null; // called when the kernel does not know a subscription, or does not answer
    this.receive = this.receive.bind(this);
    this.attach(connection);
  }

  /** Use another connection to the same kernel; `resume` then subscribes there. */
  attach(connection) {
    this.connection?.iopubMessage.disconnect(this.receive);
    this.cut();
    this.connection = connection;
    connection?.iopubMessage.connect(this.receive);
  }

  get isConnected() {
    const { connection } = this;
    return Boolean(connection) && !connection.isDisposed && connection.connectionStatus === "connected" && !AWAY.has(connection.status);
  }

  /** Send a request of asyncnb's; resolves with the reply's content, rejects with a ChannelError. */
  async request(content, timeout = 5000) {
    const reply = await this.control(REQUEST, content, timeout);
    if (reply.status === "ok") return reply;
    throw new ChannelError(String(reply.evalue || reply.ename || "The kernel refused, and gave no reason."), "refused");
  }

  /** Whether the kernel has asyncnb loaded. Kernels without asyncnb know this request, too. */
  async probe(timeout = 5000) {
    const reply = await this.control("comm_info_request", { target_name: TARGET }, timeout);
    // Not all kernels heed the name.
    return Object.values(reply.comms ?? {}).some((comm) => comm?.target_name === TARGET);
  }

  /** Send a message on the control channel; resolves with the content of its reply. */
  control(type, content, timeout) {
    const { connection } = this;
    // JupyterLab would keep it until there is a connection again: by then nothing waits for it.
    if (!this.isConnected) return Promise.reject(new ChannelError("The kernel is not connected.", "lost"));
    return new Promise((resolve, reject) => {
      const header = {
        msg_id: `${connection.clientId}-asyncnb-${unique()}`,
        msg_type: type,
        session: connection.clientId,
        username: connection.username,
        date: new Date().toISOString(),
        version: "5.3",
      };
      const message = { channel: "control", header, parent_header: {}, metadata: {}, content, buffers: [] };
      let future;
      const timer = setTimeout(() => {
        finish(() => reject(new ChannelError("The kernel did not answer.", "timeout")));
      }, timeout);
      const lose = () => finish(() => reject(new ChannelError("The kernel was restarted or its connection closed before it answered.", "lost")));
      const finish = (settle) => {
        clearTimeout(timer);
        this.pending.delete(lose);
        settle();
        future?.dispose(); // the reply is all: a kernel need not send an idle status
      };
      try {
        future = connection.sendControlMessage(message, true);
      } catch (error) {
        return finish(() => reject(new ChannelError(`The kernel is not connected: ${error.message}.`, "lost")));
      }
      future.onReply = (reply) => finish(() => resolve(reply.content));
      future.done.catch(lose); // by JupyterLab, when the kernel restarts or the connection is closed
      this.pending.add(lose);
    });
  }

  /**
   * Receive what the kernel publishes: `show` is "summary" or "rows". Returns {post, dispose}.
   *
   * It begins when the kernel has asyncnb, and again with a new snapshot after each lost connection
   * and restart. `post(content)` sends a dashboard's message; it throws a ChannelError without a
   * connection.
   */
  subscribe(show, receive) {
    const subscription = new ChannelSubscription(this, show, receive);
    this.subscriptions.add(subscription);
    if (this.isReady) subscription.begin();
    return subscription;
  }

  /** The kernel has asyncnb: subscribe, each from the beginning. */
  resume() {
    this.isReady = true;
    for (const subscription of this.subscriptions) subscription.begin();
  }

  /** The kernel has no asyncnb any more: what it knew is void. */
  pause() {
    this.isReady = false;
    for (const subscription of this.subscriptions) subscription.forget();
  }

  /** The same, because the kernel or the connection to it is gone: no answer comes through it. */
  cut() {
    this.pause();
    for (const lose of [...this.pending]) lose();
  }

  receive(_, message) {
    if (message.header.msg_type !== "comm_msg") return;
    const subscription = this.byComm.get(message.content.comm_id);
    const { method, content } = message.content.data ?? {};
    if (subscription && method === "custom" && content) subscription.take(content, message.buffers ?? []);
  }

  dispose() {
    for (const subscription of [...this.subscriptions]) subscription.dispose();
    this.attach(null);
  }
}

class ChannelSubscription {
  constructor(channel, show, onMessage) {
    this.channel = channel;
    this.show = show;
    this.onMessage = onMessage;
    this.comm = null; // its id, while the kernel has it or is asked for it
    this.isClosed = false; // by its page, which can ask again with `sync`
    this.state = new Map(); // what the page said last of what it shows, for the next begin
    this.reset();
  }

  reset() {
    this.received = 0;
    this.acknowledged = 0;
    this.every = ACKNOWLEDGE;
  }

  begin() {
    if (this.isClosed) return;
    this.end();
    const comm = (this.comm = `asyncnb-${unique()}`);
    this.reset();
    this.channel.byComm.set(comm, this);
    this.channel.request({ c: "subscribe", comm_id: comm, show: this.show }).then(
      () => {
        if (this.comm !== comm) return;
        for (const content of this.state.values()) this.send(content);
      },
      (error) => this.trouble(comm, error),
    );
  }

  /** Tell the kernel that nothing more is wanted. */
  end() {
    const { comm, channel } = this;
    this.forget();
    if (comm && channel.isReady) channel.request({ c: "unsubscribe", comm_id: comm }).catch(() => {});
  }

  forget() {
    this.channel.byComm.delete(this.comm);
    this.comm = null;
  }

  trouble(comm, error) {
    if (this.comm !== comm || error.kind === "lost") return; // what comes next begins it anew
    this.forget();
    this.channel.onTrouble?.(error);
  }

  take(content, buffers) {
    if (content.k === "snapshot") {
      this.received = this.acknowledged = 0; // the kernel counts from here, too
      this.every = content.format?.acknowledge ?? ACKNOWLEDGE;
    }
    this.received++;
    if (this.received - this.acknowledged >= this.every) {
      this.acknowledged = this.received;
      this.send({ c: "seen", messages: this.received });
    }
    try {
      this.onMessage(content, buffers);
    } catch (error) {
      console.error("asyncnb: a message of the kernel was not understood.", error); // the next may be
    }
  }

  /** Send a message of a dashboard's; the answer comes as a message. */
  post(content) {
    const verb = content.c;
    if (verb === "seen") return; // `take` does that
    if (verb === "close") {
      this.isClosed = true;
      this.state.clear();
      return this.end();
    }
    if (SHOWN.has(verb)) this.state.set(verb, content);
    if (verb === "sync" && (this.isClosed || !this.received)) {
      this.isClosed = false;
      if (this.channel.isReady && !this.comm) this.begin();
      return; // a snapshot is on its way, or comes with the connection
    }
    if (!this.comm) {
      if (SHOWN.has(verb)) return;
      throw new ChannelError("The kernel is not connected, or has not loaded asyncnb.", "lost");
    }
    this.send(content);
  }

  send(content) {
    const { comm } = this;
    if (!comm) return;
    this.channel.request({ ...content, comm_id: comm }).catch((error) => {
      if (this.comm !== comm) return;
      if (content.n === undefined || error.kind !== "refused") return this.trouble(comm, error);
      this.onMessage({ k: "ack", n: content.n, ok: false, text: error.message }, []);
      this.send({ c: "seen", messages: this.received }); // refused as well if the subscription is unknown
    });
  }

  dispose() {
    this.end();
    this.channel.subscriptions.delete(this);
  }
}

/** What a page says of what it shows, as opposed to what it asks to be done. */
const SHOWN = new Set(["view", "unfold", "sample", "detail", "watch"]);

/** A text that no other page makes. Not `randomUUID`: pages by plain http have none. */
function unique() {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("");
}
