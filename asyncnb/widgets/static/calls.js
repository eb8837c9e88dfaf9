// A run of many calls (asyncnb.map): what its row and chip say, and its part of the details, where
// its limit and rate are set.

/** A pace in the most readable unit: `120/s`, `4.2/s`, `30/min`. */
function pace(perSecond) {
  for (const [seconds, unit] of [[1, "s"], [60, "min"], [3600, "h"]]) {
    const number = perSecond * seconds;
    if (number < 0.995 && unit !== "h") continue;
    return `${number >= 9.95 ? Math.round(number).toLocaleString("en") : Number(number.toPrecision(2))}/${unit}`;
  }
}

/** What is worth a line: `3 failed, 12 retried, 4.2/s, 3 min 29 s left`; empty without such. */
function callsNote(row, now) {
  const { calls } = row;
  if (!calls) return "";
  const parts = [countsOf({ failed: calls.failed, retried: calls.retried, "from the file": calls.saved })];
  if (!row.isEnded && calls.per_second) parts.push(pace(calls.per_second));
  if (!row.isEnded && calls.finish !== null) parts.push(`${duration(calls.finish - now, 0)} left`);
  return parts.filter(Boolean).join(", ");
}

/** The limit and the rate of a run, editable in place, and the items that failed last. */
class CallsPanel {
  constructor(store) {
    this.store = store;
    this.counts = h("span", { class: "asyncnb-calls-counts" });
    this.limit = this.field("Limit", "calls at a time", "numeric", (value) => ["limit", { calls: value }]);
    this.rate = this.field("Rate", "no rate", "text", (value) => ["rate", { rate: value }]);
    this.retry = h("button", { type: "button", class: "asyncnb-text-button", text: "Retry failed items", on: { click: () => this.store.command("retry", { id: this.row.id }) } });
    this.list = h("ol", { class: "asyncnb-failures" });
    this.heading = h("h4", { text: "Failed items" });
    this.node = h(
      "div",
      { class: "asyncnb-calls", role: "group", hidden: "" },
      h("div", { class: "asyncnb-calls-line" }, this.limit.label, this.rate.label, this.counts, this.retry),
      this.heading,
      this.list,
    );
  }

  field(name, placeholder, inputmode, command) {
    const input = h("input", { class: "asyncnb-editor", type: "text", inputmode, placeholder, spellcheck: "false", autocomplete: "off" });
    const field = { name, input, command, shown: "", label: h("label", {}, `${name} `, input) };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") this.send(field);
      else if (event.key === "Escape") this.restore(field);
      else return;
      event.preventDefault();
    });
    input.addEventListener("blur", () => this.restore(field));
    return field;
  }

  send(field) {
    const value = field.input.value.trim();
    if (value === field.shown) return;
    const [verb, what] = field.command(value);
    // A refusal is announced below, and the field shows again what is the case.
    this.store.command(verb, { id: this.row.id, ...what }, ({ ok }) => ok || this.restore(field));
  }

  restore(field) {
    if (field.input.value !== field.shown) field.input.value = field.shown;
  }

  /** Show the run of a row, or nothing; `failures`: pairs of item and error. */
  paint(row, failures) {
    const { calls } = row;
    setHidden(this.node, !calls);
    this.row = row;
    if (!calls) return;
    const now = this.store.now();
    const isLive = !row.isEnded && this.store.connection !== "lost";
    setAttribute(this.node, "aria-label", `Calls of ${row.name}`);
    for (const [field, value] of [[this.limit, calls.limit], [this.rate, calls.rate]]) {
      const text = value === null ? "" : String(value);
      const isEdited = document.activeElement === field.input && field.input.value !== field.shown && field.of === row.id;
      field.shown = text;
      field.of = row.id;
      if (!isEdited) this.restore(field);
      field.input.disabled = !isLive;
      setAttribute(field.input, "aria-label", `${field.name} of ${row.name}`);
    }
    const ended = row.done === null ? "" : row.total === null ? row.done.toLocaleString("en") : `${row.done.toLocaleString("en")} of ${row.total.toLocaleString("en")}`;
    setText(this.counts, [ended, callsNote(row, now)].filter(Boolean).join(", "));
    setHidden(this.retry, !(row.isEnded && calls.failed && this.store.connection !== "lost"));
    setHidden(this.heading, !failures?.length);
    setHidden(this.list, !failures?.length);
    setText(this.heading, calls.failed > (failures?.length ?? 0) ? `Failed items, the last ${failures?.length} of ${calls.failed.toLocaleString("en")}` : "Failed items");
    if (this.failures === failures) return;
    this.failures = failures;
    this.list.replaceChildren(...(failures ?? []).map(([item, error]) =>
      h("li", {}, h("code", { class: "asyncnb-source", text: item, title: item }), h("span", { class: "asyncnb-failure", text: error, title: error }))));
  }
}
