// Loading asyncnb in kernels: the command, and the setting that does it in every new one.

// The kernel decides whether it is new: the page cannot see whether anything has run in it already.
const LOAD_IF_NEW =
  'get_ipython().execution_count == 1 and get_ipython().run_line_magic("load_ext", "asyncnb")';

/** Add the command `asyncnb:load` and follow the setting `loadInNewKernels`. */
function addLoading(app, kernels, tracker, { settings, modules }) {
  app.commands.addCommand("asyncnb:load", {
    label: "Load asyncnb in the Kernel",
    caption: "Run %load_ext asyncnb in the kernel of this notebook",
    isEnabled: () => ["absent", "unknown"].includes(kernels.of(tracker?.currentWidget)?.state),
    execute: async () => {
      try {
        await kernels.of(tracker.currentWidget).load();
      } catch (error) {
        notify(app, `asyncnb was not loaded: ${error.message}`, "error");
      }
    },
  });
  kernels.changed.connect(() => app.commands.notifyCommandChanged("asyncnb:load"));
  tracker?.currentChanged.connect(() => app.commands.notifyCommandChanged("asyncnb:load"));

  let explained = false; // once for each page is enough
  const load = async (kernel) => {
    if (!settings.get("loadInNewKernels")) return;
    // At once, so that it is in front of the first cell. Without history, and without a count.
    const request = { code: LOAD_IF_NEW, silent: true, store_history: false, stop_on_error: false, allow_stdin: false };
    const { content } = await kernel.requestExecute(request).done;
    if (content.status !== "error" || explained) return;
    explained = true;
    notify(app, `${loadError(content)} The setting “Load asyncnb in every new kernel” has no effect there.`, "warning");
  };
  const follow = async (kernel) => {
    if ((await kernel.spec)?.language?.toLowerCase() !== "python") return;
    const begin = () => void load(kernel).catch(() => {}); // the kernel ended before it answered
    let restarting = false;
    kernel.statusChanged.connect((_, status) => {
      restarting ||= status === "restarting" || status === "autorestarting";
    });
    // A cell that runs after the restart is sent when this signal has been handled.
    kernel.connectionStatusChanged.connect((_, status) => {
      if (status !== "connected" || !restarting) return;
      restarting = false;
      begin();
    });
    begin();
  };
  tracker?.widgetAdded.connect((_, { sessionContext }) => {
    sessionContext.kernelChanged.connect((_, { newValue }) => newValue && void follow(newValue));
    if (sessionContext.session?.kernel) void follow(sessionContext.session.kernel);
  });
}

/** Show a sentence in JupyterLab's notification centre. */
function notify(app, message, type) {
  if (!app.commands.hasCommand("apputils:notify")) return console.warn(message);
  void app.commands.execute("apputils:notify", { message, type, options: { autoClose: 10000 } });
}
