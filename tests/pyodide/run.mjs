// node run.mjs INSTALLED REPOSITORY SCRIPT ARGUMENT...: run a Python script in Pyodide.
//
// INSTALLED is what install.py made. The script may await at its top level; `arguments` is a list
// of strings there, and its last line gives the exit status.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [installed, repository, script, ...rest] = process.argv.slice(2);
const module = pathToFileURL(join(installed, "node_modules", "pyodide", "pyodide.mjs"));
const { loadPyodide } = await import(module.href);
const pyodide = await loadPyodide({
  env: { HOME: "/home/pyodide", PYTHONDONTWRITEBYTECODE: "1" },
  stdout: (text) => console.log(text),
  stderr: (text) => console.error(text),
});
for (const [name, root] of [["/repo", repository], ["/site", join(installed, "site")]]) {
  pyodide.FS.mkdirTree(name);
  pyodide.FS.mount(pyodide.FS.filesystems.NODEFS, { root }, name);
}
await pyodide.runPythonAsync("import sys; sys.path[:0] = ['/repo', '/site']");
pyodide.globals.set("arguments", pyodide.toPy(rest));
process.exit(await pyodide.runPythonAsync(readFileSync(script, "utf8"), { filename: script }));
