// What the browser allows: asked for once, in a click.

/** "granted", "denied", "default" (not asked yet), or "missing" where there are no notifications. */
function permission() {
  // A page that was not loaded over https, or from localhost, may not show any.
  if (typeof Notification !== "function" || !globalThis.isSecureContext) return "missing";
  return Notification.permission;
}

/** Ask for permission, if it was not asked for yet; call it in a click. */
async function askPermission() {
  if (permission() === "default") {
    try {
      await Notification.requestPermission();
    } catch {
      // An older browser, or a frame that may not ask.
    }
  }
  return permission();
}

/** Why the browser shows no notifications, and what is shown instead; "" where it shows them. */
function whyNone(state) {
  const instead = "They appear on this page and in its title instead";
  if (state === "granted") return "";
  if (state === "denied") return `The browser blocks notifications of this page. ${instead}; its site settings, left of the address, can allow them.`;
  if (state === "missing") return `This page cannot show notifications of the browser: that takes https, or localhost. ${instead}.`;
  return `The browser was not allowed to show notifications. ${instead}.`;
}

/** A click on the bell of a row. */
async function toggleBell(store, row) {
  const on = !row.notify;
  const asked = on ? askPermission() : null; // now: the browser asks only while a click is handled
  const answer = await new Promise((done) => store.command("notify", { id: row.id, on }, done));
  const why = on && answer.ok ? whyNone(await asked) : "";
  if (why) store.announce(`${answer.text}. ${why}`);
}
