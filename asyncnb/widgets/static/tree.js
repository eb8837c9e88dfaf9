// The tree of groups and tasks that the grid shows.

/** Flatten the store's rows into the items of a tree, in the order they are shown. */
class Tree {
  constructor(store) {
    this.store = store;
    this.closed = new Set(); // keys of collapsed items
    this.unfolded = new Set(); // ids of the tasks whose inside is shown
    this.text = "";
    this.states = new Set(); // shown ones; all when empty
    this.items = [];
    this.index = new Map(); // by key
  }

  get isFiltered() {
    return this.text !== "" || this.states.size > 0;
  }

  /** `hold`: rows stay in their section, because the user may be about to click one. */
  build(hold) {
    const { rows, groups } = this.store;
    const children = new Map([["", []]]);
    const add = (parent, item) => {
      const list = children.get(parent);
      if (list) list.push(item);
      else children.set(parent, [item]);
    };
    const shownGroups = new Set();
    const addGroup = (name) => {
      if (shownGroups.has(name)) return;
      shownGroups.add(name);
      add("", { key: `g:${name}`, group: name, ended: null });
    };
    const wanted = this.isFiltered ? this.matching() : null;
    for (const row of rows.values()) {
      if (wanted && !wanted.has(row.id)) continue;
      if (!hold || !row.placed) row.parked = isEnded(row);
      row.placed = true;
      let parent = "";
      if (row.group !== null) addGroup(row.group), (parent = `g:${row.group}`);
      else if (row.parent !== null && rows.has(row.parent)) parent = `t:${row.parent}`;
      add(parent, { key: `t:${row.id}`, row });
    }
    if (!wanted) for (const name of groups.keys()) addGroup(name);
    for (const [parent, inside] of this.store.children) {
      if (!this.unfolded.has(parent)) continue;
      for (const row of inside.values()) if (!wanted || wanted.has(row.id)) add(`t:${parent}`, { key: `t:${row.id}`, row });
    }
    // Living tasks first, in the order of their launch; then ended ones, the latest first.
    const lives = (item) => (item.row ? !item.row.parked : false) || (children.get(item.key) ?? []).some((each) => !each.row?.isInner && lives(each)) ||
      (item.group !== undefined && groups.has(item.group));
    const endOf = (item) => item.row?.ended ?? Math.max(0, ...(children.get(item.key) ?? []).map(endOf));
    const items = [];
    const walk = (parent, depth) => {
      const list = children.get(parent);
      if (!list) return;
      const living = [];
      const ended = [];
      for (const item of list) (lives(item) ? living : ended).push(item);
      for (const item of ended) item.end = endOf(item);
      ended.sort((a, b) => b.end - a.end);
      for (const item of living.concat(ended)) {
        item.depth = depth;
        const inside = item.row ? this.store.insides.get(item.row.id)?.running ?? 0 : 0;
        item.isFull = inside > 0;
        item.size = (children.get(item.key)?.length ?? 0) || inside;
        item.open = item.size > 0 && !this.closed.has(item.key) && (!inside || this.unfolded.has(item.row.id));
        items.push(item);
        if (!this.closed.has(item.key)) walk(item.key, depth + 1);
      }
    };
    walk("", 0);
    for (const item of items) if (item.group !== undefined) this.sum(item, children.get(item.key) ?? []);
    this.items = items;
    this.index = new Map(items.map((item, i) => [item.key, i]));
    this.isTree = items.some((item) => item.size > 0);
  }

  sum(item, members) {
    item.members = members.filter((each) => each.row).map((each) => each.row);
  }

  fold(item) {
    this.closed.add(item.key);
    this.unfolded.delete(item.row?.id);
  }

  unfold(item) {
    this.closed.delete(item.key);
    if (item.isFull) this.unfolded.add(item.row.id);
  }

  /** Ids of the rows that pass the filter, and of those above them in the tree. */
  matching() {
    const { store } = this;
    const { rows } = store;
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    for (const row of rows.values()) {
      if (this.states.size && !this.states.has(row.state)) continue;
      if (!words.every((word) => row.search.includes(word))) continue;
      for (let each = row; each && !found.has(each.id); each = each.group === null ? rows.get(each.parent) : null)
        found.add(each.id);
    }
    for (const row of store.innerRows.values()) {
      if (!words.every((word) => row.search.includes(word))) continue;
      const above = [];
      let each = row;
      for (; each?.isInner; each = store.find(each.parent)) above.push(each.id);
      if (!each || (this.states.size && !this.states.has(each.state))) continue;
      for (const id of above) found.add(id);
      for (; each && !found.has(each.id); each = each.group === null ? rows.get(each.parent) : null) found.add(each.id);
    }
    return found;
  }
}
