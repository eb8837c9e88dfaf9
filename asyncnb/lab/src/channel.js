// One kernel connection's part of the protocol (notebooks/reference/protocol.md).

class ChannelError extends Error {}

class Channel {
  constructor(connection) {
    this.connection = connection;
  }

  /** Ask on the control channel; resolves with the reply's content. */
  async request(content, timeout = 5000) {
    throw new ChannelError("not written yet");
  }

  subscribe(show, receive) {
    return { post() {}, dispose() {} };
  }

  dispose() {}
}
