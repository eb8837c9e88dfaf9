// The details of an opened row.

class Detail {
  constructor(store, onClose) {
    this.store = store;
    this.title = h("span", { class: "asyncnb-detail-name" });
    this.facts = h("span", { class: "asyncnb-detail-facts" });
    this.calls = new CallsPanel(store);
    this.body = h("div", { class: "asyncnb-detail-body", tabindex: 0 });
    this.node = h(
      "section",
      { class: "asyncnb-detail", hidden: "" },
      h(
        "header",
        {},
        this.title,
        this.facts,
        h("button", { type: "button", class: "asyncnb-button", "aria-label": "Close details", title: "Close details (Esc)", on: { click: onClose } }, icon("cancel")),
      ),
      this.calls.node,
      this.body,
    );
    this.node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      onClose();
    });
  }

  paint() {
    const { details } = this.store;
    const row = details && this.store.find(details.id);
    setHidden(this.node, !row);
    if (!row) return void (this.of = undefined);
    const name = this.store.path(row);
    setText(this.title, name);
    setAttribute(this.node, "aria-label", `Details of ${name}`);
    const started = row.started === null ? "" : new Date(row.started * 1000).toLocaleTimeString([], { hour12: false });
    setText(
      this.facts,
      [row.state, row.kind === "loop" ? "" : `in a ${row.kind}`, row.cell ? `In[${row.cell}]` : "", started && `since ${started}`, row.note]
        .filter(Boolean)
        .join(" · "),
    );
    this.calls.paint(row, details.of?.failures);
    if (this.of === details.of && this.id === details.id) return;
    const isSame = this.id === details.id;
    const pre = this.body.querySelector(".asyncnb-output");
    const atEnd = !pre || pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4;
    const scroll = pre?.scrollTop;
    this.of = details.of;
    this.id = details.id;
    this.body.replaceChildren(...this.sections(details.of));
    const now = this.body.querySelector(".asyncnb-output");
    if (now) now.scrollTop = isSame && !atEnd ? scroll : now.scrollHeight;
  }

  sections(of) {
    if (of === undefined) return [h("p", { class: "asyncnb-quiet", text: "…" })];
    if (of === null) return [h("p", { class: "asyncnb-quiet", text: "This task is no longer listed." })];
    const facts = h("div", { class: "asyncnb-facts" });
    const output = h("div", { class: "asyncnb-outputs" });
    const section = (column, title, ...children) => column.append(h("div", { class: "asyncnb-section" }, h("h4", { text: title }), ...children));
    if (of.frames?.length)
      section(
        facts,
        "Await chain",
        h("ol", { class: "asyncnb-frames" }, ...of.frames.map(([where, line, name, source]) =>
          h("li", {},
            h("span", { class: where.startsWith("In[") ? "asyncnb-place asyncnb-own" : "asyncnb-place", text: `${where}, line ${line}`, title: `${where}, line ${line}` }),
            h("span", { class: "asyncnb-function", text: name }),
            h("code", { class: "asyncnb-source", text: source })))),
      );
    if (of.waits) section(facts, "Waits for", h("p", { text: of.waits }));
    if (of.awaited_by?.length) section(facts, "Awaited by", h("p", { text: of.awaited_by.join(", ") }));
    if (of.output) section(output, "Output", h("pre", { class: "asyncnb-output", tabindex: 0, "aria-label": "Output" }, terminalText(of.output)));
    if (of.traceback) section(output, "Traceback", h("pre", { class: "asyncnb-traceback", tabindex: 0, "aria-label": "Traceback" }, terminalText(of.traceback)));
    const found = [facts, output].filter((column) => column.firstChild);
    return found.length ? found : [h("p", { class: "asyncnb-quiet", text: "No output yet." })];
  }
}
