// Puts fragments in place. What the browser does is given: find(id), make(html) → element, morph(old, new).
export function place(fragments, browser, last) {
  const { find, make, morph, ask } = browser;
  const late = [];
  for (const fragment of fragments) {
    const { id, place: how, html } = fragment;
    const old = find(id);
    if (how === "remove") {
      old?.remove();
      continue;
    }
    if (how === "morph") {
      if (old) morph(old, make(html));
      continue;
    }
    if (how === "ask") {
      if (old) ask(id);
      continue;
    }
    const { into, keep, before } = how.prepend ?? how.insert;
    const list = find(into);
    if (!list) continue;
    // What follows it comes itself with these: it waits until that is there.
    if (before && !last && !find(before)) {
      late.push(fragment);
      continue;
    }
    if (old) morph(old, make(html));
    const node = find(id) ?? make(html);
    if (how.prepend) {
      if (!old) list.prepend(fresh(node));
      while (list.children.length > keep) list.lastElementChild.remove();
      continue;
    }
    const next = (before && find(before)) || null;
    if (!old) list.insertBefore(fresh(node), next);
    else if (node.nextElementSibling !== next) list.insertBefore(node, next);
  }
  if (late.length) place(late, browser, late.length === fragments.length);
}

// New things are pointed out once; the stylesheet says how.
function fresh(node) {
  node.setAttribute("data-c-new", "");
  return node;
}

// Attributes that the script sets and a morph must not take away.
export const ours = (name) => /^(open|data-c-.*|aria-(expanded|pressed|selected))$/.test(name);

export function browser(morphing) {
  const holder = document.createElement("template");
  const find = (id) => document.getElementById(id);
  let asked = Promise.resolve();
  const options = {
    morphStyle: "outerHTML",
    callbacks: {
      beforeAttributeUpdated: (name) => !ours(name),
      beforeNodeMorphed: (old, fresh) => !old.isEqualNode?.(fresh),
    },
  };
  const make = (html) => {
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  };
  const morph = (old, fresh) => morphing.morph(old, fresh, options);
  // One after the other, so that the last answer is the last word. Who is signed out asks until signed in.
  async function answer(id) {
    try {
      const got = await fetch(find(id).dataset.src);
      if (got.redirected || got.status > 499) throw got;
      if (got.ok) morph(find(id), make(await got.text()));
    } catch {
      setTimeout(ask, 2_000, id);
    }
  }
  const ask = (id) => (asked = asked.then(() => answer(id)));
  return { find, make, morph, ask };
}
