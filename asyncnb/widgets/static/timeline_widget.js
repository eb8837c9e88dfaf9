// One timeline by itself: its facts come with the model, and anew when somebody asks.

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
