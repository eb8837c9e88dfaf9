// Marks cells that have tasks: `[~]` in the prompt while they run, and a thin bar.

const RUNNING_PROMPT = "~";

/** Whether a cell, as the kernel's summary describes it, has tasks that have not ended. */
const isLiving = (facts) => Boolean(facts?.running);

/** One sentence about the tasks of a cell: "crawl: running, 5 of 10". */
function describeCell(facts) {
  const failed = facts.failed ? `, ${facts.failed} failed` : "";
  const tasks = facts.running > 1 ? `${facts.running} tasks running` : facts.state;
  const progress = facts.total ? `, ${facts.done} of ${facts.total}` : "";
  return `${facts.name ? `${facts.name}: ` : ""}${tasks}${progress}${isLiving(facts) ? failed : ""}`;
}

/** What is known of the cells of each kernel: living ones, and failures until they run again. */
class CellFacts {
  constructor() {
    this.kernels = new Map(); // kernel id -> Map of cell id -> facts
  }

  of(entry) {
    return (entry && this.kernels.get(entry.id)) ?? new Map();
  }

  /** Take an entry's newest state. */
  update(entry) {
    if (["absent", "foreign", "restarting", "dead"].includes(entry.state)) {
      this.kernels.delete(entry.id);
      return;
    }
    if (entry.state !== "loaded" || !entry.summary) return; // disconnected: what was true last
    const before = this.of(entry);
    const now = new Map(entry.summary.cells);
    for (const [id, facts] of before) if (!now.has(id) && facts.state === "failed") now.set(id, facts);
    for (const [id, facts] of now) if (!isLiving(facts) && facts.state !== "failed") now.delete(id);
    this.kernels.set(entry.id, now);
  }

  /** A cell runs again: what its earlier run ended with is of the past. */
  forget(entry, id) {
    const facts = this.of(entry).get(id);
    if (facts && !isLiving(facts)) this.of(entry).delete(id);
  }

  /** Drop kernels that are gone. */
  keep(entries) {
    for (const id of this.kernels.keys()) if (!entries.has(id)) this.kernels.delete(id);
  }
}

/** The mark at one cell. */
class Mark {
  constructor(cell) {
    this.cell = cell;
    this.bar = document.createElement("div");
    this.bar.className = "asyncnb-cell-bar";
    this.bar.setAttribute("role", "progressbar");
    this.follow = () => this.drawPrompt();
    // After the cell's own handler, which writes the prompt: that one was connected first.
    cell.model.stateChanged.connect(this.follow);
    cell.node.append(this.bar);
    // A cell that was never on the screen has no prompt yet.
    void cell.ready.then(this.follow);
  }

  draw(facts) {
    this.facts = facts;
    const text = describeCell(facts);
    const share = facts.total ? Math.min(1, Math.max(0, facts.done / facts.total)) : null;
    this.cell.toggleClass("asyncnb-cell-living", isLiving(facts));
    this.cell.toggleClass("asyncnb-cell-failed", !isLiving(facts));
    this.cell.toggleClass("asyncnb-cell-paused", facts.state === "paused");
    this.bar.setAttribute("aria-label", text);
    this.bar.title = text;
    this.bar.classList.toggle("asyncnb-mod-indeterminate", isLiving(facts) && share === null);
    this.bar.style.setProperty("--asyncnb-share", share ?? 1);
    if (share === null) this.bar.removeAttribute("aria-valuenow");
    else this.bar.setAttribute("aria-valuenow", Math.round(100 * share));
    this.drawPrompt();
  }

  drawPrompt() {
    const { cell } = this;
    if (cell.isDisposed || !this.facts || !cell.inputArea) return;
    const prompt = cell.promptNode;
    if (!prompt) return;
    if (isLiving(this.facts)) {
      prompt.title = describeCell(this.facts);
      // `[*]`: the cell is queued, or is running itself.
      if (!prompt.textContent.includes("*")) cell.inputArea.setPrompt(RUNNING_PROMPT);
    } else this.clearPrompt();
  }

  clearPrompt() {
    const { cell } = this;
    const prompt = cell.promptNode;
    prompt?.removeAttribute("title");
    if (prompt?.textContent.includes(RUNNING_PROMPT)) cell.inputArea.setPrompt(String(cell.model.executionCount ?? ""));
  }

  dispose() {
    const { cell } = this;
    this.bar.remove();
    if (cell.isDisposed) return;
    cell.model.stateChanged.disconnect(this.follow);
    for (const state of ["living", "failed", "paused"]) cell.removeClass(`asyncnb-cell-${state}`);
    this.facts = null;
    if (cell.inputArea) this.clearPrompt();
  }
}

/** The marks of one notebook. */
class NotebookMarks {
  constructor(panel, factsOf) {
    this.panel = panel;
    this.factsOf = factsOf; // () -> Map of cell id -> facts
    this.marks = new Map(); // cell widget -> Mark
    this.draw = this.draw.bind(this);
    this.drawSoon = () => void Promise.resolve().then(this.draw); // when the widgets are there, too
    const { content } = panel;
    content.modelChanged.connect(this.follow, this);
    this.follow();
  }

  follow() {
    this.cells?.changed.disconnect(this.drawSoon);
    this.cells = this.panel.content.model?.cells;
    this.cells?.changed.connect(this.drawSoon); // cells moved, deleted, or brought back by undo
    this.draw();
  }

  draw() {
    if (this.panel.isDisposed) return;
    const facts = this.factsOf();
    if (!facts.size && !this.marks.size) return;
    const marked = new Set();
    for (const cell of this.panel.content.widgets) {
      const known = facts.get(cell.model.id);
      if (!known || cell.model.type !== "code") continue;
      marked.add(cell);
      if (!this.marks.has(cell)) this.marks.set(cell, new Mark(cell));
      this.marks.get(cell).draw(known);
    }
    for (const [cell, mark] of this.marks) {
      if (marked.has(cell)) continue;
      mark.dispose();
      this.marks.delete(cell);
    }
  }
}
