// What the extension uses of JupyterLab: the modules that the page already has.

const USED = {
  application: "@jupyterlab/application",
  apputils: "@jupyterlab/apputils",
  cells: "@jupyterlab/cells",
  coreutils: "@lumino/coreutils",
  labutils: "@jupyterlab/coreutils",
  notebook: "@jupyterlab/notebook",
  running: "@jupyterlab/running",
  services: "@jupyterlab/services",
  settingregistry: "@jupyterlab/settingregistry",
  translation: "@jupyterlab/translation",
  ui: "@jupyterlab/ui-components",
  signaling: "@lumino/signaling",
  widgets: "@lumino/widgets",
};

/** All of them by their short names; null for one that this app does not have. */
async function loadModules(shared) {
  const load = async ([short, name]) => [short, await shared(name).catch(() => null)];
  return Object.fromEntries(await Promise.all(Object.entries(USED).map(load)));
}
