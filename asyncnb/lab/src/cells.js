// What is on the cells: commands, buttons, prompts and bars.

/** Add the commands and buttons; `parts` is described in plugin.js. */
function addCells(app, kernels, tracker, parts) {}
