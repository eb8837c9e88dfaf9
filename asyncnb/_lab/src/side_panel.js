// The panel "Tasks" in a side area: its widget, icon and badge. What it shows is loaded with it.

const SEEN_FAILURES = "asyncnb:seen-failures"; // in the browser's storage: numbers by kernel id

const TASKS_SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3 jp-icon-selectable" fill="#616161">
<rect x="1" y="2.5" width="9" height="3" rx="1.5"/><rect x="4" y="6.5" width="11" height="3" rx="1.5"/><rect x="2" y="10.5" width="7" height="3" rx="1.5"/></g></svg>`;

/** What the icon of the panel says: running tasks, and failures that the user has not seen yet. */
class Badge {
  constructor(widget, kernels, settings) {
    this.widget = widget;
    this.kernels = kernels;
    this.settings = settings;
    this.seen = new Map(Object.entries(recall(SEEN_FAILURES, {})));
    kernels.changed.connect(() => this.update());
    settings.changed.connect(() => this.update());
    document.addEventListener("visibilitychange", () => this.update());
    this.update();
  }

  update() {
    const isLooking = this.widget.isVisible && !document.hidden;
    let running = 0;
    let failed = 0;
    let isNew = false;
    for (const { id, summary } of this.kernels.entries.values()) {
      if (!summary) continue;
      running += summary.counts.running ?? 0;
      // A restarted kernel counts from zero again.
      const seen = Math.min(this.seen.get(id) ?? 0, summary.failures);
      const now = isLooking ? summary.failures : seen;
      failed += summary.failures - now;
      if (this.seen.get(id) !== now) isNew = this.seen.set(id, now) !== null;
    }
    if (isNew) this.save();
    this.show(running, failed);
  }

  save() {
    const known = [...this.seen].filter(([id]) => this.kernels.entries.has(id));
    if (known.length) remember(SEEN_FAILURES, Object.fromEntries(known));
  }

  show(running, failed) {
    const words = [running && `${running.toLocaleString("en")} running`, failed && `${failed.toLocaleString("en")} failed`];
    const { title } = this.widget;
    const caption = ["Tasks", words.filter(Boolean).join(", ")].filter(Boolean).join(": ");
    if (title.caption !== caption) title.caption = caption;
    const isOn = this.settings.get("badge");
    const short = (count) => (count > 99 ? "99+" : String(count));
    const before = title.dataset;
    const dataset = { ...before };
    for (const [key, count] of [["asyncnb-running", running], ["asyncnb-failed", failed]]) {
      delete dataset[key];
      if (isOn && count) dataset[key] = short(count);
    }
    if (["asyncnb-running", "asyncnb-failed"].every((key) => dataset[key] === before[key])) return;
    // The tab bar writes a title's data to the tab's element, which style.css then gives badges. Their
    // texts are variables, since the pseudo-elements of the tab itself are JupyterLab's.
    title.dataset = dataset;
    for (const bar of document.querySelectorAll(".jp-SideBar"))
      for (const key of ["asyncnb-running", "asyncnb-failed"]) bar.style.setProperty(`--${key}`, JSON.stringify(dataset[key] ?? ""));
  }
}

/** Add the panel and the command that shows it; `parts` is described in plugin.js. */
function addPanel(app, kernels, parts) {
  const { widgets, ui } = parts.modules;

  class TasksPanel extends widgets.Widget {
    constructor() {
      super();
      this.id = "asyncnb-panel";
      this.addClass("asyncnb-side-panel");
      this.title.icon = new ui.LabIcon({ name: "asyncnb:tasks", svgstr: TASKS_SVG });
      this.title.caption = "Tasks";
      this.title.dataset = { ...this.title.dataset, jpTabLabel: "Tasks" };
      this.node.setAttribute("role", "region");
      this.node.setAttribute("aria-label", "Tasks");
    }

    onAfterShow() {
      this.reveal();
    }

    onAfterAttach() {
      if (this.isVisible) this.reveal();
    }

    onAfterHide() {
      this.content?.rest();
      badge.update();
    }

    onBeforeDetach() {
      this.content?.rest();
    }

    onActivateRequest() {
      this.wantsFocus = true;
      this.content?.focus();
    }

    /** Show the task of a cell, when the content is there. */
    showTask(kernelId, cellId) {
      this.wanted = [kernelId, cellId];
      this.content?.showTask(kernelId, cellId);
    }

    reveal() {
      badge.update();
      if (this.content) return this.content.wake();
      this.loading ??= this.load();
    }

    async load() {
      try {
        const { TasksView } = await parts.importPanel();
        if (this.isDisposed) return;
        this.content = new TasksView(this.node, app, kernels, parts);
        if (this.isVisible) this.content.wake();
        if (this.wanted) this.content.showTask(...this.wanted);
        else if (this.wantsFocus) this.content.focus();
      } catch (error) {
        console.error("asyncnb: the Tasks panel could not be loaded.", error);
        this.node.textContent = "The Tasks panel could not be loaded. Reload the page to try again.";
        this.loading = null;
      }
    }

    dispose() {
      this.content?.destroy();
      super.dispose();
    }
  }

  const widget = new TasksPanel();
  const badge = new Badge(widget, kernels, parts.settings);
  app.shell.add(widget, "left", { rank: 350, type: "Tasks" });
  parts.restorer?.add(widget, widget.id);

  app.commands.addCommand("asyncnb:show-panel", {
    label: "Show Tasks Panel",
    caption: "Show the asyncio tasks of all notebooks",
    icon: widget.title.icon,
    // In a toolbar only where no icon of the panel is always in sight: in Notebook 7.
    isVisible: ({ toolbar } = {}) => !toolbar || !parts.labShell,
    describedBy: {
      args: {
        type: "object",
        properties: {
          kernelId: { type: "string", description: "The kernel whose task to show" },
          cellId: { type: "string", description: "The cell whose task to show" },
        },
      },
    },
    execute: ({ kernelId, cellId } = {}) => {
      app.shell.activateById(widget.id);
      if (kernelId && cellId) widget.showTask(kernelId, cellId);
    },
  });
  parts.palette?.addItem({ command: "asyncnb:show-panel", category: "Tasks" });
  return widget;
}
