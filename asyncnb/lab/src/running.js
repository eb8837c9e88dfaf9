// The section "Tasks" of JupyterLab's panel of running things.

/** Add the section; `managers` is null where the app has no such panel. */
function addRunning(app, kernels, managers, parts) {}
