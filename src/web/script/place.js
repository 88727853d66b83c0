// Puts fragments in place. What the browser does is given: find(id), make(html) → element, morph(old, new).
export function place(fragments, { find, make, morph }) {
  for (const { id, place, html } of fragments) {
    const old = find(id);
    if (place === "remove") {
      old?.remove();
      continue;
    }
    if (place === "morph") {
      if (old) morph(old, make(html));
      continue;
    }
    const { into, keep, before } = place.prepend ?? place.insert;
    const list = find(into);
    if (!list) continue;
    if (old) morph(old, make(html));
    const node = find(id) ?? make(html);
    if (place.prepend) {
      if (!old) list.prepend(fresh(node));
      while (list.children.length > keep) list.lastElementChild.remove();
      continue;
    }
    const next = (before && find(before)) || null;
    if (!old) list.insertBefore(fresh(node), next);
    else if (node.nextElementSibling !== next) list.insertBefore(node, next);
  }
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
  const options = {
    morphStyle: "outerHTML",
    callbacks: {
      beforeAttributeUpdated: (name) => !ours(name),
      beforeNodeMorphed: (old, fresh) => !old.isEqualNode?.(fresh),
    },
  };
  return {
    find: (id) => document.getElementById(id),
    make(html) {
      holder.innerHTML = html;
      return holder.content.firstElementChild;
    },
    morph: (old, fresh) => morphing.morph(old, fresh, options),
  };
}
