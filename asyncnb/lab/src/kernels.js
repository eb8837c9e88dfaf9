// All running kernels of this server, and what is known of asyncnb in each.

class Kernels {
  constructor(app, modules) {
    this.app = app;
    this.entries = new Map(); // by kernel id
    this.changed = new modules.signaling.Signal(this); // Signal<Kernels, Entry | null>
  }

  /** The entry of the kernel of this notebook, if it has one. */
  of(notebookPanel) {
    return this.entries.get(notebookPanel?.sessionContext?.session?.kernel?.id);
  }

  dispose() {}
}
