// A profile on its own: the model has all of it.

export default {
  render({ model, el }) {
    const profile = mountProfile(el, model.get("data"));
    return () => profile.destroy();
  },
};
