// What is on the cells: commands and buttons, and when they can be used.

const CELL_COMMANDS = {
  run: "asyncnb:run-in-background",
  stop: "asyncnb:stop-cell",
  show: "asyncnb:show-task",
};

/** Add the commands and buttons; `parts` is described in plugin.js. */
function addCells(app, kernels, tracker, parts) {
  if (!tracker) return; // a page without notebooks
  const { commands } = app;
  const { notebook, ui } = parts.modules;
  const warn = (error) => notify(app, error.message, "error");
  const facts = new CellFacts();
  const runner = new BackgroundRunner(kernels, parts, (error) => warn(error));
  const notebooks = new Map(); // NotebookPanel -> NotebookMarks
  const late = new LateOutputs();

  const panelOf = (args) =>
    (args.kernelId && tracker.find((panel) => kernels.of(panel)?.id === args.kernelId)) || tracker.currentWidget;
  /** The notebook, its kernel's entry, and the cells that a command is for. */
  const targets = (args = {}) => {
    const panel = panelOf(args);
    const { content } = panel ?? {};
    const chosen = (cell) => (args.cellId ? cell.model.id === args.cellId : content.isSelectedOrActive(cell));
    // A button in a cell's toolbar is for that cell, which is the active one.
    const cells = !content ? [] : args.cell ? [content.activeCell].filter(Boolean) : content.widgets.filter(chosen);
    return { panel, entry: kernels.of(panel), cells: cells.filter((cell) => cell.model.type === "code") };
  };
  const isMarked = (entry, cell) => facts.of(entry).has(cell.model.id);
  const hasTask = (entry, cell) => isLiving(facts.of(entry).get(cell.model.id)) || isAwaiting(entry, cell);
  const isRunning = (cell) => Boolean(cell.promptNode?.textContent.includes("*"));
  // Its end is seen here before the kernel reports it.
  const isAwaiting = (entry, cell) => entry?.summary?.awaiting === cell.model.id && isRunning(cell);
  const isLoaded = (entry) => entry?.state === "loaded";

  commands.addCommand(CELL_COMMANDS.run, {
    label: "Run in Background",
    caption: "Run the selected cells as background tasks; their text stays as it is",
    icon: new ui.LabIcon({ name: "asyncnb:run-in-background", svgstr: RUN_SVG }),
    isEnabled: (args) => targets(args).cells.length > 0,
    isVisible: (args) => !args.toolbar || targets(args).entry?.state !== "foreign",
    execute: async (args) => {
      const { panel, cells } = targets(args);
      if (panel) await runner.run(panel, cells).catch(warn);
    },
  });
  commands.addCommand(CELL_COMMANDS.stop, {
    label: "Stop This Cell",
    caption: "Stop the tasks of this cell, or the cell itself if it is running; nothing else is stopped",
    icon: new ui.LabIcon({ name: "asyncnb:stop-cell", svgstr: STOP_SVG }),
    isEnabled: (args) => {
      const { entry, cells } = targets(args);
      return isLoaded(entry) && cells.some((cell) => hasTask(entry, cell) || isRunning(cell));
    },
    isVisible: (args) => !args.toolbar || isToolbarCell(args),
    execute: async (args) => {
      const { entry, cells } = targets(args);
      if (!entry || !cells.length) return;
      const stop = (cell) => entry.requestStop(cell.model.id);
      const wanted = cells.length > 1 ? cells.filter((cell) => hasTask(entry, cell) || isRunning(cell)) : cells;
      await Promise.all(wanted.map((cell) => stop(cell).catch(warn)));
    },
  });
  commands.addCommand(CELL_COMMANDS.show, {
    label: "Show Its Task",
    caption: "Show the task of this cell in the panel Tasks",
    icon: new ui.LabIcon({ name: "asyncnb:show-task", svgstr: SHOW_SVG }),
    isEnabled: (args) => {
      const { entry, cells } = targets(args);
      return isLoaded(entry) && cells.some((cell) => hasTask(entry, cell) || isMarked(entry, cell));
    },
    isVisible: (args) => !args.toolbar || isToolbarCell(args),
    execute: async (args) => {
      const { entry, cells } = targets(args);
      const cell = cells.find((cell) => isMarked(entry, cell)) ?? cells[0];
      if (cell) await commands.execute("asyncnb:show-panel", { cellId: cell.model.id, kernelId: entry?.id });
    },
  });
  const isToolbarCell = (args) => {
    const { entry, cells } = targets(args);
    return cells.some((cell) => hasTask(entry, cell));
  };

  for (const command of Object.values(CELL_COMMANDS)) parts.palette?.addItem({ command, category: "Notebook Cell Operations" });

  // Buttons ask again only when an answer may be another one.
  let shown = "";
  const refresh = () => {
    const { panel, entry, cells } = targets();
    const state = cells.map((cell) => [cell.model.id, hasTask(entry, cell), isMarked(entry, cell), isRunning(cell)]);
    const now = JSON.stringify([panel?.id, entry?.id, entry?.state, state]);
    if (now === shown) return;
    shown = now;
    for (const command of Object.values(CELL_COMMANDS)) commands.notifyCommandChanged(command);
  };
  const draw = () => {
    for (const marks of notebooks.values()) marks.draw();
    refresh();
  };

  const follow = (panel) => {
    const entry = kernels.of(panel);
    if (entry?.state !== "loaded" || !entry.summary) return;
    const known = facts.of(entry);
    const isLivingCell = ({ model }) => model.type === "code" && isLiving(known.get(model.id));
    late.update(panel.sessionContext.session.kernel, panel.content.widgets.filter(isLivingCell));
  };

  kernels.changed.connect((_, entry) => {
    if (entry) facts.update(entry);
    else facts.keep(kernels.entries);
    draw();
    tracker.forEach((panel) => (!entry || kernels.of(panel) === entry) && follow(panel));
  });
  const add = (panel) => {
    if (notebooks.has(panel)) return;
    notebooks.set(panel, new NotebookMarks(panel, () => facts.of(kernels.of(panel))));
    panel.disposed.connect(() => notebooks.delete(panel));
  };
  tracker.forEach(add);
  tracker.widgetAdded.connect((_, panel) => add(panel));
  tracker.activeCellChanged.connect(refresh);
  tracker.selectionChanged.connect(refresh);
  tracker.currentChanged.connect(refresh);
  notebook.NotebookActions.executionScheduled.connect((_, { notebook: content, cell }) => {
    const panel = tracker.find((panel) => panel.content === content);
    facts.forget(kernels.of(panel), cell.model.id);
    draw();
  });
  notebook.NotebookActions.executed.connect(refresh);
}

const RUN_SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3" fill="#616161">
<path d="M4 1.5v9l7.5-4.5z"/><path d="M1.5 13.6c1.6-2 3.4-2 5 0s3.4 2 5 0 2.4-1.6 3-1.2v1.6c-.8-.5-1.4 0-2 .6-1.9 2-4.100 2-6 .2-1.500-1.700-2.500-1.700-3.900 0z"/></g></svg>`;
// Not JupyterLab's square, which interrupts the kernel.
const STOP_SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3" fill="#616161">
<path d="M8 1.500a6.500 6.500 0 1 1 0 13 6.500 6.500 0 0 1 0-13Zm0 1.600a4.900 4.900 0 1 0 0 9.800 4.900 4.900 0 0 0 0-9.800ZM5.600 5.600h4.800v4.800H5.600Z"/></g></svg>`;
const SHOW_SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3" fill="#616161">
<rect x="1" y="2.500" width="9" height="3" rx="1.500"/><rect x="4" y="6.500" width="11" height="3" rx="1.500"/><rect x="2" y="10.500" width="7" height="3" rx="1.500"/></g></svg>`;
