// The settings of schema/plugin.json, as they are now.

const DEFAULTS = { loadInNewKernels: false, badge: true, notifications: true, interval: 100 };

class Settings {
  constructor(modules) {
    this.changed = new modules.signaling.Signal(this); // Signal<Settings, undefined>
    this.values = DEFAULTS;
  }

  /** Follow the registry; without one, or if it has no such plugin, the defaults stay. */
  async follow(registry) {
    if (!registry) return;
    try {
      const settings = await registry.load(PLUGIN);
      const take = () => {
        this.values = { ...DEFAULTS, ...settings.composite };
        this.changed.emit(undefined);
      };
      settings.changed.connect(take);
      take();
    } catch (error) {
      console.warn("asyncnb: its settings could not be loaded, the defaults are used.", error);
    }
  }

  get(name) {
    return this.values[name];
  }
}
