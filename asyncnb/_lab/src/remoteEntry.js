// What JupyterLab loads first: a container of module federation, and what it shares with us.
//
// JupyterLab calls `init` with the modules that the page has (its share scope), then `get` for each
// module that package.json names. build.py fills in the names of the files.

var _JUPYTERLAB = (window._JUPYTERLAB ??= {});
_JUPYTERLAB["asyncnb"] = (() => {
  const base = new URL(".", document.currentScript.src).href;
  let scope;

  /** Whether version `a` is older than `b`: "4.10.0" is not older than "4.9.1". */
  const isOlder = (a, b) => a.localeCompare(b, "en", { numeric: true }) < 0;

  /** The module of this name that the app itself uses; rejected if the page has none. */
  async function shared(name) {
    const versions = scope?.[name] ?? {};
    // The rule of module federation for what exists once: what is loaded, or else the newest.
    const newest = (a, b) => (a === undefined || (!versions[a].loaded && isOlder(a, b)) ? b : a);
    const version = Object.keys(versions).reduce(newest, undefined);
    if (version === undefined) throw new Error(`asyncnb: this page shares no ${name}`);
    versions[version].loaded = 1;
    return (await versions[version].get())();
  }

  /** Load a style sheet; resolves when it is there, or cannot be. */
  function style(file) {
    return new Promise((done) => {
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.href = base + file;
      link.onload = link.onerror = done;
      document.head.append(link);
    });
  }

  async function panel() {
    const [module] = await Promise.all([import(`${base}@panel.js@`), style("@panel.css@")]);
    return module;
  }

  const modules = {
    "./extension": async () => {
      const { default: plugins } = await import(`${base}@extension.js@`);
      const exported = { __esModule: true, default: await plugins(shared, panel) };
      return () => exported;
    },
    "./style": async () => {
      void style("@style.css@"); // not waited for: nothing of it shows before the app does
      return () => ({});
    },
  };

  return {
    init(shareScope) {
      scope = shareScope;
      // Fetched while JupyterLab loads its own modules.
      import(`${base}@extension.js@`).catch(() => {});
    },
    get(name) {
      if (!Object.hasOwn(modules, name)) return Promise.reject(new Error(`asyncnb has no module ${name}`));
      return modules[name]();
    },
  };
})();
