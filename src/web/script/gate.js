// The order of what arrives, and when to try again. No browser in here.

// What a frame means for someone at `own` = {epoch, version}: the fragments to put in place, where that leads,
// and what to ask for when something is missing.
export function gate(own, { type, epoch, version, payload }) {
  const stay = { own, fragments: [], ask: null };
  if (type === "init" || type === "full_state") {
    return { own: { epoch, version }, fragments: payload?.fragments ?? [], ask: null };
  }
  if (epoch !== own.epoch) return { ...stay, ask: "get_state" };
  if (type === "sync") return version === own.version ? stay : { ...stay, ask: "resume" };
  const deltas = type === "delta" ? [{ version, fragments: payload?.fragments }] : type === "deltas" ? payload.deltas : [];
  const fragments = [];
  let at = own.version;
  for (const delta of deltas) {
    if (delta.version <= at) continue;
    if (delta.version !== at + 1) return { own: { epoch, version: at }, fragments, ask: "resume" };
    fragments.push(...(delta.fragments ?? []));
    at = delta.version;
  }
  return { own: { epoch, version: at }, fragments, ask: null };
}

// Of several morphs of one element only the last is done, a part is asked for once, and of what comes to the top of a
// list only what stays is put there: what waits is never more than a page can show.
export function coalesce(fragments) {
  const last = new Map();
  const tops = {};
  const key = ({ id, place }) => (place === "ask" ? "ask " : "") + id;
  fragments.forEach((fragment, index) => {
    const { prepend } = fragment.place;
    if (prepend) (tops[prepend.into] ??= { ...prepend, ids: new Set() }).ids.add(fragment.id);
    else last.set(key(fragment), index);
  });
  const stay = new Set(Object.values(tops).flatMap(({ keep, ids }) => [...ids].slice(-keep)));
  return fragments.filter((fragment, index) => {
    const { id, place } = fragment;
    if (place === "morph" || place === "ask") return last.get(key(fragment)) === index;
    return !place.prepend || stay.has(id);
  });
}

// How long to wait before the next try, in ms: full jitter, so that a thousand tabs do not come back in step.
export function delay(attempt, random = Math.random()) {
  return Math.round(100 + random * Math.min(10_000, 300 * 2 ** Math.min(attempt, 10)));
}
