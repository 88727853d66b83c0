// Keys, the search, and the sentence that shows on hover and focus.
import { menu, menuKey } from "./act.js";
import { list, rows } from "./select.js";

const split = (query) => query.toLowerCase().split(/\s+/).filter(Boolean);

// All words of the query stand in the row's words; `key:value` to its end, so that tag:web is not tag:website.
export const matches = (text, query) =>
  split(query).every((word) => `${text} `.includes(word.includes(":") ? `${word} ` : word));

// The query with the word of a chip in it or, when it was, without. Of the chips beside it only one can be on.
export function toggled(query, word, beside) {
  const words = split(query);
  const rest = words.filter((other) => !beside.includes(other));
  if (!words.includes(word)) rest.push(word);
  return word && rest.join(" ");
}

// moved(): other rows may be shown now.
export function search(moved) {
  const input = document.getElementById("search");
  // One in a form is looked for by the server.
  if (!input || input.form) return { query() {}, refresh() {} };
  const nothing = document.querySelector(".none-found");
  function refresh() {
    const words = split(input.value);
    let found = 0;
    for (const row of list()) {
      const on = !words[0] || matches(row.dataset.search, input.value);
      found += on;
      row.toggleAttribute("data-c-off", !on);
    }
    nothing.hidden = found || !words[0];
    for (const id of ["counts", "filters"]) {
      for (const chip of document.getElementById(id)?.querySelectorAll("button") ?? []) {
        const word = chip.dataset.query;
        chip.setAttribute("aria-pressed", word ? words.includes(word) : !words[0]);
      }
    }
    moved();
  }
  function changed() {
    refresh();
    const text = input.value.trim();
    history.replaceState(null, "", text ? `?q=${encodeURIComponent(text)}` : location.pathname);
  }
  input.addEventListener("input", changed);
  input.value = new URLSearchParams(location.search).get("q") ?? "";
  refresh();
  return {
    query(chip) {
      const beside = Array.from(chip.parentElement.children, (one) => one.dataset.query);
      input.value = toggled(input.value, chip.dataset.query, beside);
      changed();
    },
    refresh,
  };
}

export function keys({ dock, pick, clear }) {
  document.addEventListener("keydown", (event) => {
    const { key, shiftKey, target: on } = event;
    if (menuKey(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    const input = document.getElementById("search");
    if (on === input && key === "Escape") {
      input.value = "";
      input.dispatchEvent(new Event("input"));
      return input.blur();
    }
    if (on.closest("dialog, input, textarea, select, .log-lines")) {
      if (!(on === input && (key === "ArrowDown" || key === "Enter"))) return;
    }
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[key];
    const row = on.closest("[data-row]");
    const edge = { Home: 1, End: -1 }[key];
    if (step) {
      if (shiftKey) pick(row, true);
      const next = move(row, step);
      if (shiftKey) pick(next, true);
    } else if (edge && row) move(null, edge);
    else if (key === "x") pick(row);
    else if (key === "Escape") return document.querySelector("[popover=auto]:popover-open") ?? clear();
    else if (key === "/" && input) input.select();
    else if (key === "?") document.getElementById("keys").showModal();
    else if (key === "l") dock();
    else if (key === "Enter" && on === input && !input.form) move(null, 1);
    else if (key === "Enter" && on === row) {
      const more = row.querySelector("[data-offers]");
      if (more) menu(more);
      else row.querySelector("summary, a")?.click();
    } else if (key === "o" && row) row.querySelector("a")?.click();
    else return;
    event.preventDefault();
  });
}

function move(row, step) {
  const all = rows();
  const next = row ? all[all.indexOf(row) + step] : all.at(step > 0 ? 0 : -1);
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
  return next;
}

export function tips() {
  const tip = document.getElementById("tip");
  let timer, on;
  const hide = () => {
    clearTimeout(timer);
    on = null;
    if (tip.matches(":popover-open")) tip.hidePopover();
  };
  function show(target) {
    // An empty one: what the button says.
    const text = target.dataset.tip || (target.dataset.tip === "" || cut(target) ? target.innerText : "");
    if (!text || !target.isConnected) return;
    tip.textContent = text;
    tip.showPopover();
    const at = target.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const beside = target.closest(".menu") && at.left > own.width + 16;
    const left = beside ? at.left - own.width - 12 : at.left + at.width / 2 - own.width / 2;
    const above = at.top - own.height - 8;
    tip.style.left = `${Math.max(8, Math.min(innerWidth - own.width - 8, left))}px`;
    tip.style.top = `${beside ? at.top : above < 8 ? at.bottom + 8 : above}px`;
  }
  const cut = (target) => [...target.querySelectorAll(".cut")].some((part) => part.scrollWidth > part.clientWidth);
  const over = (wait) => (event) => {
    const target = event.target.closest?.("[data-tip], [data-tip-cut]");
    if (target === on) return;
    hide();
    on = target;
    if (target) timer = setTimeout(show, tip.matches(":popover-open") ? 0 : wait, target);
  };
  document.addEventListener("pointerover", over(250));
  document.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && over(0)(event));
  document.addEventListener("focusout", hide);
  document.addEventListener("pointerdown", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
