// The panel "Tasks" in a side area: its widget, icon and badge. Its content is loaded when it is shown.

/** Add the panel and the command that shows it; `parts` is described in plugin.js. */
function addPanel(app, kernels, parts) {
  const { modules } = parts;
  const widget = new modules.widgets.Widget();
  widget.id = "asyncnb-panel";
  widget.title.icon = new modules.ui.LabIcon({ name: "asyncnb:tasks", svgstr: TASKS_SVG });
  widget.title.caption = "Tasks";
  widget.node.setAttribute("role", "region");
  widget.node.setAttribute("aria-label", "Tasks");
  widget.addClass("asyncnb-side-panel");
  app.shell.add(widget, "left", { rank: 350, type: "Tasks" });
  parts.restorer?.add(widget, widget.id);

  app.commands.addCommand("asyncnb:show-panel", {
    label: "Show Tasks Panel",
    execute: () => app.shell.activateById(widget.id),
  });
}

const TASKS_SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3" fill="#616161">
<rect x="1" y="2.5" width="9" height="3" rx="1.5"/><rect x="4" y="6.5" width="11" height="3" rx="1.5"/><rect x="2" y="10.5" width="7" height="3" rx="1.5"/></g></svg>`;
