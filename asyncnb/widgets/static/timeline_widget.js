// A timeline on its own: the model has its facts, and gets new ones when the user asks.

export default {
  render({ model, el }) {
    const timeline = mountTimeline(el, { onRequest: () => model.send({ c: "timeline" }) });
    const show = () => timeline.update(model.get("data"));
    model.on("change:data", show);
    show();
    return () => {
      model.off("change:data", show);
      timeline.destroy();
    };
  },
};
