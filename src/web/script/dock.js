// The dock: a tab for each log that is open. What is open outlives a reload.
import { clone, range, remember, store, windows } from "./log.js";

export function logs({ socket, copy, toast, doc }) {
  const views = new Map();
  const dock = document.getElementById("dock");
  const strip = dock.querySelector(".dock-tabs");
  const body = dock.querySelector(".dock-body");
  const tab = (id) => strip.querySelector(`[data-id="${id}"]`);
  const home = document.querySelector("[data-logview]");
  const homely = (id) => home?.dataset.logview === id;
  const view = windows({ socket, copy, toast, doc, views, tab, homely });

  function draw() {
    for (const { id, title } of store.tabs) {
      let one = tab(id);
      if (!one) {
        one = clone("t-tab");
        one.dataset.id = id;
        strip.append(one);
      }
      one.querySelector(".tab-name").textContent = title;
      one.querySelector(".tab-close").ariaLabel = `Close ${title}`;
      one.querySelector(".tab-open").ariaCurrent = id === store.active;
    }
    for (const one of [...strip.children]) {
      if (!store.tabs.some(({ id }) => id === one.dataset.id)) one.remove();
    }
    document.body.dataset.dock = !store.tabs.length ? "" : store.small ? "small" : "open";
    if (!store.small && store.active) {
      const shown = view(store.active);
      if (body.firstElementChild !== shown.root) body.replaceChildren(shown.root);
      shown.seen();
    }
    // Of the others no line is sent, only how they stand.
    for (const { id } of store.tabs) view(id, 0).sign();
    remember();
  }

  function open(id, title) {
    if (homely(id)) return home.scrollIntoView();
    if (!store.tabs.some((tab) => tab.id === id)) store.tabs = [...store.tabs.slice(-11), { id, title }];
    store.active = id;
    store.small = false;
    draw();
  }

  function close(id) {
    const at = store.tabs.findIndex((tab) => tab.id === id);
    store.tabs.splice(at, 1);
    if (store.active === id) store.active = (store.tabs[at] ?? store.tabs.at(-1))?.id ?? "";
    if (!homely(id)) {
      socket.unfollow(id);
      views.get(id)?.root.remove();
      views.delete(id);
    }
    delete store.at[id];
    draw();
    focus();
  }

  dock.addEventListener("click", (event) => {
    const on = event.target.closest.bind(event.target);
    const id = on("[data-id]")?.dataset.id;
    if (on(".tab-close")) close(id);
    else if (on(".tab-open")) open(id);
    const what = on("[data-dock]")?.dataset.dock;
    if (what === "size") size();
    if (what === "close") for (const { id } of [...store.tabs]) close(id);
  });

  const keys = {
    ",": () => turn(-1),
    ".": () => turn(1),
    x: (on) => on.closest(".dock") && close(store.active),
  };
  function turn(step) {
    const next = store.tabs[store.tabs.findIndex(({ id }) => id === store.active) + step];
    if (!next) return;
    open(next.id);
    focus();
  }
  const focus = () => tab(store.active)?.querySelector(".tab-open").focus();
  addEventListener(
    "keydown",
    (event) => {
      const { target: on, key, ctrlKey, metaKey, altKey } = event;
      if (altKey || on.closest("input, textarea, select, dialog")) return;
      const inside = on.closest(".log") ?? (!document.getElementById("search") && home);
      const control = ctrlKey || metaKey;
      if (inside && key === (control ? "f" : "/")) inside.querySelector("input").select();
      // On a row of a list these keys are the list’s.
      else if (!control && keys[key] && !on.closest("[data-row]")) keys[key](on);
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    true,
  );
  function linked() {
    const lines = home && range(location.hash);
    if (lines) view(home.dataset.logview).go(...lines);
  }
  addEventListener("hashchange", linked);
  addEventListener("pagehide", () => {
    for (const { keep } of views.values()) keep();
    remember();
  });

  function size() {
    store.small = !store.small;
    draw();
  }

  home?.append(view(home.dataset.logview).root);
  linked();
  draw();
  return { open, size, take: (payload) => views.get(payload.command_id)?.take(payload) };
}
