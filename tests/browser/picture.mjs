// A page as text, one line for each element and text: what a person sees and what can be done with it. Two tabs that
// show the same have the same picture, whenever and however each came to it.

/** Runs in the page. */
function draw() {
  // What is the session's, the moment's or the tab's own, and no news of the fleet.
  const own = (element, name) =>
    name.startsWith('data-c-') ||
    (element.matches('html') && ['data-link', 'data-theme'].includes(name)) ||
    (element.matches('body') && ['data-version', 'data-epoch', 'data-dock'].includes(name)) ||
    (element.matches('meta[name=csrf-token]') && name === 'content') ||
    (element.matches('input[name=csrf_token]') && name === 'value') ||
    (element.matches('time') && name === 'title') ||
    (element.matches('#link-since') && name === 'datetime') ||
    (element.matches('[popover]') && name === 'style');
  const lines = [];
  const add = (element, depth) => {
    const attributes = [...element.attributes]
      .filter(({ name }) => !own(element, name))
      .map(({ name, value }) => `${name}=${JSON.stringify(value)}`)
      .sort();
    lines.push(`${'  '.repeat(depth)}${[element.localName, ...attributes].join(' ')}`);
    // "12 s ago" is counted on by the tab; the moment itself stands in the attribute.
    if (element.matches('time[data-ago], #tip, #toasts')) return;
    // An open page of events keeps what it had, below the hundred of a fresh one: how far back it goes is its own.
    if (element.matches('#older')) return;
    const children = [...element.childNodes];
    for (const child of element.matches('main > .list-all > #events') ? children.slice(0, 100) : children) {
      if (child.nodeType === Node.ELEMENT_NODE) add(child, depth + 1);
      const text = child.nodeType === Node.TEXT_NODE ? child.data.replace(/\s+/g, ' ').trim() : '';
      if (text) lines.push(`${'  '.repeat(depth + 1)}${JSON.stringify(text)}`);
    }
  };
  add(document.documentElement, 0);
  return lines;
}

export const picture = (page) => page.evaluate(draw);

/** The lines that one of them has and the other has not. */
export function differences(open, fresh) {
  const count = (lines) => lines.reduce((all, line) => all.set(line, (all.get(line) ?? 0) + 1), new Map());
  const [left, right] = [count(open), count(fresh)];
  const more = (sign, one, other) =>
    [...one].flatMap(([line, times]) => Array(Math.max(0, times - (other.get(line) ?? 0))).fill(`${sign} ${line.trim()}`));
  const found = [...more('open tab:', left, right), ...more('fresh load:', right, left)];
  const at = open.findIndex((line, n) => line !== fresh[n]);
  if (!found.length && at >= 0) found.push(`another order, from: ${open[at].trim()}`);
  return found;
}
