// What the panel shows: the dashboard's tree of each kernel.

/** Fill the panel's element; returns what ends it. */
export function showPanel(node, app, kernels, parts) {
  return () => {};
}
