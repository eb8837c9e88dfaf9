// The notifier: shows notifications in this page, for the kernel that made the widget.

const HIDDEN_WAIT = 150; // milliseconds that a hidden page leaves to one that is looked at
const HOLD = 20000; // milliseconds for which one page keeps the others from showing the same
const TOAST = 10000; // milliseconds that a message on the page stays, while the page is looked at
const TOASTS = 4; // messages on the page at most
const ASKED = "asyncnb-notify-asked"; // in localStorage: the button was shown, and not wanted
const FRAME =
  "position:fixed;right:16px;z-index:10000;max-width:min(360px,calc(100vw - 32px));max-height:80vh;overflow-y:auto;" +
  "font:13px/1.4 var(--jp-ui-font-family,system-ui,sans-serif);";
const CARD =
  "margin-top:8px;padding:8px 12px;border-radius:6px;overflow-wrap:anywhere;white-space:pre-wrap;" +
  "background:var(--jp-layout-color1,var(--vscode-notifications-background,light-dark(#fff,#1e1e1e)));" +
  "color:var(--jp-ui-font-color1,var(--vscode-notifications-foreground,light-dark(#212121,#e0e0e0)));" +
  "border:1px solid var(--jp-border-color1,light-dark(#bdbdbd,#616161));box-shadow:0 2px 8px #0004;" +
  "border-inline-start:4px solid ";
const BUTTON =
  "margin:8px 8px 0 0;padding:3px 10px;font:inherit;color:inherit;background:none;cursor:pointer;" +
  "border:1px solid currentColor;border-radius:4px;";
const COLOURS = {
  info: "var(--jp-info-color1,#1976d2)",
  success: "var(--jp-success-color1,#2e7d32)",
  warning: "var(--jp-warn-color1,#b26a00)",
  error: "var(--jp-error-color1,#c62828)",
};

const delay = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const isHidden = () => document.visibilityState === "hidden";
const isLookedAt = () => !isHidden() && document.hasFocus();

function element(tag, style, text = "", attributes = {}) {
  const node = document.createElement(tag);
  node.style.cssText = style;
  node.textContent = text; // never HTML
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** The number of notices that were not seen, in front of the page's title. One for each page. */
class Badge {
  constructor() {
    this.count = 0;
    this.mark = "";
    this.repairs = 0;
    this.observer = new MutationObserver(() => this.repair());
  }

  add() {
    if (!this.count) {
      this.repairs = 0;
      // Others change the title meanwhile: JupyterLab does when another document is opened.
      this.observer.observe(document.head, { subtree: true, childList: true, characterData: true });
      this.watch = () => isLookedAt() && this.clear();
      document.addEventListener("visibilitychange", this.watch);
      window.addEventListener("focus", this.watch);
    }
    const bare = this.bare();
    this.mark = `(${++this.count}) `;
    document.title = this.mark + bare;
  }

  /** The title without the number. */
  bare() {
    return this.mark ? document.title.replace(this.mark, "") : document.title;
  }

  repair() {
    // Not against code that wants the title for itself, without end.
    if (this.count && !document.title.includes(this.mark.trim()) && this.repairs++ < 100) document.title = this.mark + document.title;
  }

  clear() {
    this.observer.disconnect();
    document.removeEventListener("visibilitychange", this.watch);
    window.removeEventListener("focus", this.watch);
    document.title = this.bare();
    this.count = 0;
    this.mark = "";
  }
}

const badge = (globalThis[Symbol.for("asyncnb.badge")] ??= new Badge());

/** Call `show` unless another page of this browser does. */
async function alone(name, show) {
  if (!navigator.locks) return show(); // nor may such a page show notifications of the browser
  await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    show();
    await delay(HOLD);
  });
}

/**
 * Give a notification to JupyterLab, if there is a way; return whether there was one. An extension
 * takes the event (preventDefault) and shows its detail, which is what `apputils:notify` takes.
 */
function toJupyterLab(message, type) {
  // Without a time JupyterLab only lists it; the time stops while the page has no focus.
  const detail = { message, type, options: { autoClose: TOAST } };
  if (!document.dispatchEvent(new CustomEvent("asyncnb:notify", { detail, cancelable: true }))) return true;
  // Of the app, where the server was started with expose_app_in_browser.
  const commands = (globalThis.jupyterapp ?? globalThis.jupyterlab)?.commands;
  if (!commands?.hasCommand?.("apputils:notify")) return false;
  Promise.resolve(commands.execute("apputils:notify", detail)).catch(() => toPage(message, type));
  return true;
}

/** The place for messages on the page itself. */
function corner() {
  let node = document.querySelector("body > .asyncnb-notices");
  if (!node) {
    node = element("div", `${FRAME}bottom:32px;`, "", { class: "asyncnb-notices", role: "status", "aria-label": "Notifications of tasks" });
    document.body.append(node);
  }
  return node;
}

/** Show a message on the page, for a while; in a page that is hidden, from when it is seen. */
function toPage(message, type) {
  const place = corner();
  const card = element("div", CARD + COLOURS[type], message, { class: "asyncnb-notice", title: "Click to close" });
  const close = () => card.remove();
  card.addEventListener("click", close);
  place.append(card);
  while (place.querySelectorAll(".asyncnb-notice").length > TOASTS) place.querySelector(".asyncnb-notice").remove();
  const begin = () => {
    if (isHidden()) return;
    document.removeEventListener("visibilitychange", begin);
    setTimeout(close, TOAST);
  };
  document.addEventListener("visibilitychange", begin);
  begin();
}

/** Show a notification of the desktop; return whether the browser took it. */
function toDesktop(title, body, tag) {
  if (permission() !== "granted") return false;
  try {
    const shown = new Notification(title, { body, tag });
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
    return true;
  } catch {
    return false; // Android: only a service worker may
  }
}

class Notifier {
  constructor(model) {
    this.model = model;
    this.key = model.get("key");
    this.taken = new Set();
    this.post({ c: "hello", age: performance.now() / 1000 });
  }

  post(message) {
    try {
      this.model.send(message);
    } catch {
      // The kernel is gone, or this is a saved notebook without one.
    }
  }

  async receive(message) {
    if (message.k === "ask") this.ask();
    if (message.k !== "note" || this.taken.has(message.n)) return;
    this.taken.add(message.n);
    if (isHidden()) await delay(HIDDEN_WAIT);
    await alone(`asyncnb ${this.key} ${message.n}`, () => this.show(message));
  }

  show({ n, title, text, level, onlyUnseen, late }) {
    this.post({ c: "shown", n });
    if (onlyUnseen && !isHidden() && !late) return; // its cell shows it, and the user is here
    const type = Object.hasOwn(COLOURS, level) ? level : "info";
    if (!isLookedAt()) {
      toDesktop(title || badge.bare() || "Notebook", text, `asyncnb-${this.key}-${n}`);
      badge.add();
    }
    if (!onlyUnseen) this.ask();
    const line = [title, text].filter(Boolean).join(": ");
    if (!toJupyterLab(line, type)) toPage(line, type);
  }

  /** Offer a button, as the browser asks only in a click. It is offered once, and may stay unused. */
  ask() {
    const state = permission();
    if (state === "granted" || document.querySelector(".asyncnb-notices [data-ask]")) return;
    let before = null;
    try {
      before = localStorage.getItem(ASKED);
      if (state !== "default") localStorage.setItem(ASKED, state);
    } catch {
      // A page without storage.
    }
    if (state !== "default") return void (before !== state && toPage(whyNone(state), "info"));
    if (before === "later") return;
    const card = element("div", CARD + COLOURS.info, "Show a notification of the browser when a task ends?", { role: "group", "aria-label": "Notifications", "data-ask": "" });
    const button = (text, act) => {
      const node = element("button", BUTTON, text, { type: "button" });
      node.addEventListener("click", act);
      return node;
    };
    card.append(
      element("br", ""),
      button("Allow notifications", async () => {
        const why = whyNone(await askPermission());
        card.remove();
        if (why) toPage(why, "info");
      }),
      button("Not now", () => {
        try {
          localStorage.setItem(ASKED, "later");
        } catch {
          // Then it is offered again.
        }
        card.remove();
      }),
    );
    corner().append(card);
  }
}

export default () => ({
  initialize({ model }) {
    const notifier = new Notifier(model);
    model.on("msg:custom", (message) => notifier.receive(message));
  },
});
