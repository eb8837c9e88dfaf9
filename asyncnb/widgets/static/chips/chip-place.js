// A chip's own module. It is kept small, because every chip sends it to the browser again.
export default {
  async render({ model, el }) {
    el.textContent = model.get("text");
    const hubs = (globalThis[Symbol.for("asyncnb.chips")] ??= new Map());
    const key = model.get("key");
    let hub = hubs.get(key);
    if (!hub?.mount) {
      hub = await new Promise((found) => {
        if (!hub) hubs.set(key, (hub = { waiting: [] }));
        hub.waiting.push(found);
      });
    }
    return hub.mount(el, model.get("task"), model.get("text"));
  },
};
