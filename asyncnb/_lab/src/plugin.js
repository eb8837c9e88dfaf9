// The plugin: it joins the parts of the extension to JupyterLab, and does nothing else.

const PLUGIN = "asyncnb:plugin";

/** Return the plugins; `shared` gives modules of the page, `panel` loads the panel's module. */
export default async function plugins(shared, panel) {
  const modules = await loadModules(shared);
  const { application, apputils, notebook, running, settingregistry, translation } = modules;
  // None is required: Notebook 7 has pages without notebooks, and other apps less than that.
  const optional = {
    tracker: notebook?.INotebookTracker,
    executor: notebook?.INotebookCellExecutor,
    dialogs: apputils?.ISessionContextDialogs,
    registry: settingregistry?.ISettingRegistry,
    palette: apputils?.ICommandPalette,
    toolbars: apputils?.IToolbarWidgetRegistry,
    restorer: application?.ILayoutRestorer,
    labShell: application?.ILabShell,
    managers: running?.IRunningSessionManagers,
    translator: translation?.ITranslator,
  };
  const names = Object.keys(optional).filter((name) => optional[name]);
  return [
    {
      id: PLUGIN,
      description: "A panel of asyncio tasks, and cells that run in the background.",
      autoStart: true,
      requires: [],
      optional: names.map((name) => optional[name]),
      // For other extensions: what is known of each running kernel.
      provides: new modules.coreutils.Token("asyncnb:IKernels", "The running kernels, and what asyncnb does in each."),
      activate(app, ...services) {
        // `parts`: the services of `optional` by name, null or missing where the app has none;
        // modules (modules.js), settings (settings.js), importPanel() for the panel's module.
        const parts = Object.fromEntries(names.map((name, index) => [name, services[index]]));
        parts.modules = modules;
        parts.importPanel = panel;
        parts.settings = new Settings(modules);
        void parts.settings.follow(parts.registry);

        const kernels = new Kernels(app, modules, parts.tracker);
        addNotices(app, parts.settings);
        addLoading(app, kernels, parts.tracker, parts);
        addPanel(app, kernels, parts);
        addCells(app, kernels, parts.tracker, parts);
        addRunning(app, kernels, parts.managers, parts);
        return kernels;
      },
    },
  ];
}
