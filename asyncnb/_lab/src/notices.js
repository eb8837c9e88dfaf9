// Notifications of tasks in JupyterLab's notification centre.

function addNotices(app, settings) {
  document.addEventListener("asyncnb:notify", (event) => {
    if (!app.commands.hasCommand("apputils:notify")) return; // then notify.js shows it on the page
    event.preventDefault();
    if (!settings.get("notifications")) return;
    app.commands.execute("apputils:notify", event.detail).catch(console.error);
  });
}
