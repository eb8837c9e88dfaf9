// The dashboard: one Store for each widget, and one View for each place where it is shown.

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = new Store((message) => model.send(message));
      model.on("msg:custom", (message, buffers) => store.receive(message, buffers));
      return store.watchConnection(model);
    },
    render({ model, el }) {
      const view = new View(store, model.get("height") ?? 320);
      const resized = () => view.setHeight(model.get("height"));
      model.on("change:height", resized);
      view.show(el);
      return () => {
        model.off("change:height", resized);
        view.destroy();
      };
    },
  };
};
