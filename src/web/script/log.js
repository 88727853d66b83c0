// Logs: a view of one command's output, and the dock with a tab for each. What is open, and where it stands,
// outlives a reload.
import { make } from "./act.js";
import { pieces, plain } from "./sgr.js";

const BLOCK = 400; // lines in one block; the browser skips the layout of blocks out of sight
const BLOCKS = 60; // blocks that stay; the whole is in the download
const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
const named = (root, name) => root.querySelector(`[data-log-do="${name}"]`);

// A browser that keeps no storage keeps no cookie either, and never gets here.
const store = { tabs: [], active: "", small: false, wrap: true, at: {}, ...JSON.parse(sessionStorage.logs ?? "{}") };
export const remember = () => (sessionStorage.logs = JSON.stringify(store));

export function logs({ socket, copy, toast }) {
  const views = new Map();
  const dock = document.getElementById("dock");
  const strip = dock.querySelector(".dock-tabs");
  const body = dock.querySelector(".dock-body");

  // One log, wherever it is shown.
  function view(id) {
    if (views.has(id)) return views.get(id);
    const root = clone("t-log");
    const box = root.querySelector(".log-lines");
    const state = plain();
    const kept = store.at[id];
    const raw = `/api/v1/commands/${id}/log?raw=1`;
    let next = 0;
    let count = 0;
    let top = 0;
    let follow = !kept || kept.follow;
    let back = kept && !kept.follow ? kept.offset : null;
    let open = null; // the line that goes on
    const own = { root, next: () => next, append, status, show, keep };
    views.set(id, own);
    named(root, "raw").href = raw;
    named(root, "page").href = `/commands/${id}`;
    named(root, "page").hidden = document.body.dataset.page === `command/${id}`;

    function append(lines, over) {
      for (const line of lines) {
        if (line.offset < next) continue;
        next = line.end;
        add(line);
      }
      while (box.children.length > BLOCKS) box.firstElementChild.remove();
      if (over) {
        socket.done(id);
        root.dataset.over = "";
        if (!count) box.firstElementChild.textContent = "No output.";
      }
      if (back !== null && next > back) {
        const lines = box.querySelectorAll("[data-at]");
        const there = [...lines].find((line) => Number(line.dataset.at) >= back);
        back = null;
        // Twice: the heights of blocks that were never in sight are guesses.
        const to = () => (box.scrollTop = top = box.scrollTop + there.getBoundingClientRect().top - box.getBoundingClientRect().top);
        if (there) to(requestAnimationFrame(to));
      } else if (follow) bottom();
    }

    function add({ offset, time, stream, line, partial }) {
      box.querySelector(".log-wait")?.remove();
      let row = open;
      if (!row) {
        if (count++ % BLOCK === 0) box.append(make("div", { className: "block" }));
        row = make("div", { className: `ln s-${stream}`, title: new Date(time).toLocaleTimeString() });
        row.dataset.at = offset;
        row.dataset.n = count;
        box.lastElementChild.append(row);
      }
      for (const { text, cls } of pieces(line, state)) {
        row.append(!cls ? text : make("span", { className: cls, textContent: text }));
      }
      open = partial ? row : null;
    }

    function bottom() {
      box.scrollTop = top = box.scrollHeight;
    }

    // How the command stands: what the page says of it, wherever it says it.
    function status() {
      const said = document.getElementById(`command:${id}`);
      const look = [...(said?.classList ?? [])].find((name) => name.startsWith("is-"));
      const line = root.querySelector(".log-state");
      const parts = [...(said?.querySelectorAll(".item-state, .item-text") ?? [])].map((part) => part.cloneNode(true));
      if (!parts.length) return;
      if (line.textContent !== parts.map((part) => part.textContent).join("")) {
        line.replaceChildren(...parts);
        line.className = `log-state ${look}`;
      }
      const sign = tab(id)?.querySelector(".tab-state");
      if (sign && !sign.classList.contains(look)) {
        sign.className = `tab-state ${look}`;
        sign.replaceChildren(said.querySelector(".item-state svg").cloneNode(true));
      }
    }

    function show() {
      const pressed = (name, on) => named(root, name).setAttribute("aria-pressed", on);
      pressed("follow", follow);
      pressed("wrap", store.wrap);
      root.classList.toggle("nowrap", !store.wrap);
    }

    function keep() {
      const edge = box.getBoundingClientRect().top;
      const first = follow ? null : [...box.querySelectorAll("[data-at]")].find((line) => line.getBoundingClientRect().bottom > edge);
      store.at[id] = { follow, offset: Number(first?.dataset.at ?? 0) };
    }

    box.addEventListener("scroll", () => {
      if (!box.clientHeight) return;
      const end = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
      const before = follow;
      if (end) follow = true;
      else if (box.scrollTop < top - 2) follow = false;
      top = box.scrollTop;
      if (follow !== before) show();
    });
    root.addEventListener("click", async (event) => {
      const what = event.target.closest("[data-log-do]")?.dataset.logDo;
      if (what === "follow") {
        follow = !follow;
        if (follow) bottom();
      } else if (what === "wrap") {
        store.wrap = !store.wrap;
        for (const other of views.values()) other.show();
        if (follow) bottom();
      } else if (what === "copy") {
        const answer = await fetch(raw).catch(() => null);
        if (answer?.ok) copy(await answer.text());
        else toast("The log could not be read.");
      }
      show();
    });
    own.seen = () => follow && bottom();
    show();
    status();
    socket.follow(id, own.next);
    return own;
  }

  const tab = (id) => strip.querySelector(`[data-id="${id}"]`);

  function draw() {
    for (const { id, title } of store.tabs) {
      let one = tab(id);
      if (!one) {
        one = clone("t-tab");
        one.dataset.id = id;
        strip.append(one);
      }
      one.querySelector(".tab-name").textContent = title;
      one.querySelector(".tab-close").setAttribute("aria-label", `Close ${title}`);
      one.querySelector(".tab-open").setAttribute("aria-current", id === store.active);
    }
    for (const one of [...strip.children]) {
      if (!store.tabs.some(({ id }) => id === one.dataset.id)) one.remove();
    }
    dock.hidden = !store.tabs.length;
    dock.classList.toggle("small", store.small);
    document.body.toggleAttribute("data-dock", !dock.hidden);
    if (!dock.hidden && !store.small && store.active) {
      const shown = view(store.active);
      if (body.firstElementChild !== shown.root) body.replaceChildren(shown.root);
      shown.seen();
    }
    for (const { status } of views.values()) status();
    remember();
  }

  function open(id, title) {
    const here = document.querySelector(`[data-logview="${id}"]`);
    if (here) return here.scrollIntoView();
    const known = store.tabs.find((tab) => tab.id === id);
    if (!known) store.tabs = [...store.tabs.slice(-11), { id, title: title || id.slice(0, 8) }];
    store.active = id;
    store.small = false;
    draw();
  }

  function close(id) {
    const at = store.tabs.findIndex((tab) => tab.id === id);
    store.tabs.splice(at, 1);
    if (store.active === id) store.active = (store.tabs[at] ?? store.tabs.at(-1))?.id ?? "";
    if (!document.querySelector(`[data-logview="${id}"]`)) {
      socket.unfollow(id);
      views.get(id)?.root.remove();
      views.delete(id);
    }
    delete store.at[id];
    draw();
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
  strip.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = store.tabs.findIndex(({ id }) => id === store.active) + step;
    if (!store.tabs[at]) return;
    open(store.tabs[at].id);
    tab(store.active).querySelector(".tab-open").focus();
  });
  addEventListener("pagehide", () => {
    for (const { keep } of views.values()) keep();
    remember();
  });

  function size() {
    store.small = !store.small;
    draw();
  }

  for (const place of document.querySelectorAll("[data-logview]")) place.append(view(place.dataset.logview).root);
  draw();
  return {
    open,
    size,
    take: ({ command_id, lines, over }) => views.get(command_id)?.append(lines, over),
    refresh() {
      for (const { status } of views.values()) status();
    },
  };
}
