// Runs cells in the background: what is sent for a cell, and how it is sent.

// Magics that start tasks by themselves; other magics (%%bash, %%time) run inside a task as they are.
const LAUNCHES = /^\s*%%(atask|agroup|amap)\b/;
// What may be a task's name without quoting it for IPython, which reads $ and {} in a magic's line.
const TASK_NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_ .,:/+-]{0,39}$/u;
const NO_NAMES = /^(type|noqa|pylint|pyright|mypy|ruff|fmt|isort|todo|fixme|xxx)\b/i;
// Tags that are for tools: nbclient, papermill, nbval, nbgrader, Jupyter Book, jupytext.
const TOOL_TAGS = /^(raises-exception|skip-execution|(injected-)?parameters|(hide|remove|scroll|nbval|mystnb|thebe|active)([-_].*)?|margin|popout|full-width|sidebar|solution|exercise|tests?)$/i;

/** The name that a cell gives its task: a tag, or its first comment line; "" if neither makes one. */
function taskName(source, tags) {
  const tag = tags.find((tag) => TASK_NAME.test(tag) && !TOOL_TAGS.test(tag));
  if (tag) return tag.trim();
  const comment = /^\s*#+\s*(.+?)[\s.:#-]*$/mu.exec(source.trimStart().split("\n", 1)[0])?.[1] ?? "";
  return TASK_NAME.test(comment) && !NO_NAMES.test(comment) ? comment : "";
}

/** What the kernel gets for a cell of this source; `added` is the number of lines above the source. */
function backgroundCode(source, tags) {
  if (LAUNCHES.test(source)) return { code: source, added: 0 };
  const name = taskName(source, tags);
  const words = name.includes(" ") ? ` "${name}"` : name && ` ${name}`;
  return { code: `%%atask${words}\n${source}`, added: 1 };
}

/** An object as `target`, but for these properties. */
function override(target, properties) {
  return new Proxy(target, {
    get(_, key) {
      if (Object.hasOwn(properties, key)) return properties[key]();
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/**
 * The session of a notebook, which sends each cell as `%%atask`.
 *
 * JupyterLab's own code runs the cell with it. So outputs, counts, recorded times, dialogs and what
 * other extensions listen to are as for any cell, in each version of JupyterLab; the cell's text is
 * only read.
 */
function backgroundSession(sessionContext) {
  const requestExecute = (kernel) => (content, disposeOnDone, metadata) => {
    const { code, added } = backgroundCode(content.code, metadata?.tags ?? []);
    // The kernel counts lines, in tracebacks and for the debugger, as the cell's reader does.
    return kernel.requestExecute({ ...content, code }, disposeOnDone, { ...metadata, asyncnb: { added_lines: added } });
  };
  const kernelOf = (session) => session.kernel && override(session.kernel, { requestExecute: () => requestExecute(session.kernel) });
  const sessionOf = () => sessionContext.session && override(sessionContext.session, { kernel: () => kernelOf(sessionContext.session) });
  return override(sessionContext, { session: sessionOf });
}

/** Makes a notebook's kernel ready for background cells, and runs them. */
class BackgroundRunner {
  constructor(kernels, parts, warn) {
    this.kernels = kernels;
    this.warn = warn; // shows an error
    this.parts = parts;
    this.preparing = new WeakSet(); // cells that wait for their kernel
  }

  /** Run these cells of the notebook; Markdown cells are left out. Resolves when all are launched. */
  async run(panel, cells) {
    const { notebook } = this.parts.modules;
    cells = cells.filter((cell) => cell.model.type === "code" && !this.preparing.has(cell));
    if (!cells.length) return;
    for (const cell of cells) this.preparing.add(cell);
    try {
      await this.prepare(panel);
    } finally {
      for (const cell of cells) this.preparing.delete(cell);
    }
    cells = cells.filter((cell) => !cell.isDisposed);
    const session = backgroundSession(panel.sessionContext);
    const { dialogs, translator, executor } = this.parts;
    if (!executor || executor.runCell === notebook.runCell) {
      await notebook.NotebookActions.runCells(panel.content, cells, session, dialogs, translator);
      return;
    }
    // Another extension executes cells: it may do so on the server, which has no `%%atask` in its text.
    const { model, notebookConfig } = panel.content;
    const ignore = () => {};
    for (const cell of cells)
      void notebook.runCell({
        cell, notebook: model, notebookConfig, sessionContext: session, sessionDialogs: dialogs,
        translator, onCellExecuted: ignore, onCellExecutionScheduled: ignore,
      }).catch(ignore); // shown under the cell
  }

  /** Resolve when asyncnb is loaded in the notebook's kernel; Error with a sentence if it cannot be. */
  async prepare(panel) {
    const { sessionContext } = panel;
    await sessionContext.ready;
    if (sessionContext.hasNoKernel && (await sessionContext.startKernel())) await this.parts.dialogs?.selectKernel(sessionContext);
    if (sessionContext.hasNoKernel) throw new Error("The notebook has no kernel; choose one to run its cells.");
    const entry = await this.until(panel, ({ state }) => !["unknown", "restarting"].includes(state), 10000);
    if (entry?.state === "foreign") {
      const language = sessionContext.kernelDisplayName || "another language";
      throw new Error(`Cells run in the background of Python kernels; this notebook's kernel is ${language}.`);
    }
    if (entry?.state === "dead") throw new Error("The kernel has died; restart it to run cells.");
    if (!entry || entry.state === "loaded") return;
    const loading = entry.load();
    if (sessionContext.session.kernel.status === "busy") {
      // Both wait for the running cell, in front of the cells that are run after this one.
      loading.catch(this.warn);
      await new Promise((sent) => setTimeout(sent));
      return;
    }
    await loading;
    // A cell that fails at once is reported to those that have subscribed by then.
    await this.until(panel, ({ summary }) => summary, 2000);
  }

  /** The entry of the notebook's kernel as soon as it is as wanted, or as it is after this time. */
  until(panel, isWanted, milliseconds) {
    const { changed } = this.kernels;
    return new Promise((done) => {
      const look = () => {
        const entry = this.kernels.of(panel);
        if (entry && isWanted(entry)) finish();
      };
      const finish = () => {
        clearTimeout(timer);
        changed.disconnect(look);
        done(this.kernels.of(panel));
      };
      const timer = setTimeout(finish, milliseconds);
      changed.connect(look);
      look();
    });
  }
}
