// The section "Tasks" of JupyterLab's panel of running things: the cells whose tasks are living.
//
// A flat list. JupyterLab 4.2 knows no other mode, and gives items inside items the label "Shut Down",
// whatever their button does.

/** Add the section; `managers` is null where the app has no such panel. */
function addRunning(app, kernels, managers, parts) {
  if (!managers) return;
  const { apputils, signaling, ui } = parts.modules;
  const warn = (error) => void apputils.Notification.error(error.message, { autoClose: 8000 });

  const manager = {
    name: "Tasks",
    runningChanged: null,
    running: () => [...kernels.entries.values()].flatMap(items),
    refreshRunning: () => kernels.refresh(),
    shutdownAll() {
      for (const entry of kernels.entries.values()) if (entry.channel && entry.living) entry.cancelAll().catch(warn);
    },
    shutdownLabel: "Stop",
    shutdownAllLabel: "Cancel All",
    shutdownAllConfirmationText: "Cancel all tasks in all notebooks? Tasks run their cleanup; kernels keep running.",
    shutdownItemIcon: ui.stopIcon,
  };
  manager.runningChanged = new signaling.Signal(manager);

  function items(entry) {
    if (!entry.channel || !entry.summary) return [];
    const icon = () => ui.LabIcon.resolve({ icon: "asyncnb:tasks" });
    const cells = entry.summary.cells.filter(([, facts]) => facts.running > 0);
    const found = cells.map(([cellId, facts]) => ({
      icon,
      className: "asyncnb-running-cell",
      label: () => `${facts.name} (${[facts.running.toLocaleString("en"), ...progress(facts)].join(", ")})`, // there is little room
      labelTitle: () => `${facts.name} in ${entry.path}: ${[`${facts.running.toLocaleString("en")} running`, ...progress(facts).map((text) => `${text} done`)].join(", ")}`,
      detail: () => entry.name,
      open: () => void showCell(app, entry, cellId).catch(warn),
      shutdown: () => void entry.requestStop(cellId).catch(warn),
    }));
    const others = entry.living - cells.reduce((sum, [, facts]) => sum + facts.running, 0);
    if (others > 0) {
      found.push({
        icon,
        className: "asyncnb-running-others",
        label: () => `${others.toLocaleString("en")} ${cells.length ? "other " : ""}${others === 1 ? "task" : "tasks"}`,
        labelTitle: () => `Tasks that no cell of ${entry.path} has launched`,
        detail: () => entry.name,
        open: () => void app.commands.execute("asyncnb:show-panel"),
        // One button for these alone there is not.
        shutdown: cells.length ? undefined : () => void entry.cancelAll().catch(warn),
      });
    }
    return found;
  }

  let shown = "[]";
  kernels.changed.connect(() => {
    const now = JSON.stringify(manager.running().map((item) => [item.label(), item.labelTitle(), item.detail()]));
    if (now === shown) return;
    shown = now;
    manager.runningChanged.emit(undefined);
  });
  managers.add(manager);
}

/** How far the work of a cell is, if it is known: `["4/10"]`. */
function progress({ done, total }) {
  if (!done && !total) return [];
  return [`${done.toLocaleString("en")}${total ? `/${total.toLocaleString("en")}` : ""}`];
}

/** Show a cell of a notebook, opening the notebook if it is closed. */
async function showCell(app, entry, cellId) {
  const panel = entry.panel ?? (await app.commands.execute("docmanager:open", { path: entry.path }));
  if (!panel?.content?.widgets) throw new Error(`${entry.name} is open in another window.`); // Notebook 7
  app.shell.activateById(panel.id);
  await panel.context.ready;
  const index = panel.content.widgets.findIndex((cell) => cell.model.id === cellId);
  if (index < 0) throw new Error(`The cell is not in ${entry.name} any more.`);
  panel.content.deselectAll();
  panel.content.activeCellIndex = index;
  await panel.content.scrollToItem(index, "center");
}
