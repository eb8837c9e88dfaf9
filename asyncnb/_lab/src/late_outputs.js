// Outputs of background cells that were run before this page was loaded, or its notebook opened.
//
// JupyterLab shows an output by the request that it answers, and forgets its requests with the page.
// The browser's tab remembers those of living cells; what comes for them is added to their outputs.

const PARENTS_KEY = "asyncnb:parents:"; // and a kernel's id, in sessionStorage

class LateOutputs {
  constructor() {
    this.followed = new Map(); // cell widget -> stop()
  }

  /** Take the living cells of a notebook; the tab remembers them for its next page. */
  update(kernel, cells) {
    if (!kernel) return;
    const known = this.read(kernel.id);
    const now = {};
    for (const cell of cells) {
      const { id } = cell.model;
      const sent = cell.outputArea?.future?.msg.header.msg_id; // in this page
      const parent = sent ?? known[id];
      if (!parent) continue; // run by another page
      now[id] = parent;
      if (!sent && !this.followed.has(cell)) this.follow(kernel, cell, parent);
    }
    for (const [cell, stop] of this.followed) if (cell.isDisposed) stop();
    if (JSON.stringify(now) !== JSON.stringify(known)) this.write(kernel.id, now);
  }

  /** Add to the cell's outputs what the kernel sends for this request, until the cell is run again. */
  follow(kernel, cell, parent) {
    const displays = new Map(); // display id -> index of the output
    const receive = (_, message) => {
      if (message.parent_header?.msg_id !== parent) return;
      if (cell.isDisposed || cell.outputArea.future) stop();
      else this.add(cell.outputArea.model, displays, message);
    };
    const stop = () => {
      kernel.iopubMessage.disconnect(receive);
      this.followed.delete(cell);
    };
    kernel.iopubMessage.connect(receive);
    this.followed.set(cell, stop);
  }

  add(outputs, displays, { header, content }) {
    const type = header.msg_type;
    const display = content.transient?.display_id;
    if (type === "clear_output") {
      outputs.clear(content.wait);
      displays.clear();
    } else if (type === "stream") outputs.add({ output_type: type, name: content.name, text: content.text });
    else if (type === "error") outputs.add({ output_type: type, ename: content.ename, evalue: content.evalue, traceback: content.traceback });
    else if (["display_data", "execute_result", "update_display_data"].includes(type)) {
      const isUpdate = type === "update_display_data";
      const output = { output_type: isUpdate ? "display_data" : type, data: content.data, metadata: content.metadata };
      if (type === "execute_result") output.execution_count = content.execution_count;
      if (isUpdate && displays.has(display)) outputs.set(displays.get(display), output);
      else if (!isUpdate) {
        outputs.add(output);
        if (display) displays.set(display, outputs.length - 1);
      }
    }
  }

  read(kernelId) {
    try {
      return JSON.parse(sessionStorage.getItem(PARENTS_KEY + kernelId)) ?? {};
    } catch {
      return {}; // a browser that stores nothing, or the value of another program
    }
  }

  write(kernelId, parents) {
    try {
      if (Object.keys(parents).length) sessionStorage.setItem(PARENTS_KEY + kernelId, JSON.stringify(parents));
      else sessionStorage.removeItem(PARENTS_KEY + kernelId);
    } catch {
      // A browser that stores nothing: outputs end with the page, as without asyncnb.
    }
  }
}
