// Keys, the search, and the sentence that shows on hover and focus.
import { menu, menuKey } from "./act.js";
import { rows } from "./select.js";

// All words of the query stand in the row's words; `key:value` to its end, so that tag:web is not tag:website.
export const matches = (text, query) =>
  query.toLowerCase().split(/\s+/).every((word) => `${text} `.includes(word.includes(":") ? `${word} ` : word));

// The query with the word of a chip in it or, when it was, without. Of the chips beside it only one can be on.
export function toggled(query, word, beside) {
  const words = query.split(/\s+/);
  const rest = words.filter((other) => !beside.includes(other));
  return (words.includes(word) ? rest : [...rest, word]).join(" ").trim();
}

// moved(): other rows are shown now.
export function search(moved) {
  const input = document.getElementById("search");
  // One in a form is looked for by the server.
  if (!input || input.form) return { query() {}, refresh() {} };
  function refresh() {
    const query = input.value.trim();
    let found = 0;
    for (const row of document.querySelectorAll("[data-list] [data-row]")) {
      const on = matches(row.dataset.search, query);
      found += on;
      row.toggleAttribute("data-c-off", !on);
    }
    for (const none of document.querySelectorAll(".none-found")) none.hidden = found > 0 || !query;
    for (const chip of document.querySelectorAll("button.count")) {
      const { query: word } = chip.dataset;
      chip.setAttribute("aria-pressed", word ? query.split(/\s+/).includes(word) : !query);
    }
  }
  function query(chip) {
    const { query: word } = chip.dataset;
    input.value = word && toggled(input.value, word, Array.from(chip.parentElement.children, (one) => one.dataset.query));
    changed();
  }
  function changed() {
    refresh();
    moved();
    const text = input.value.trim();
    history.replaceState(null, "", text ? `?q=${encodeURIComponent(text)}` : location.pathname);
  }
  input.addEventListener("input", changed);
  input.value = new URLSearchParams(location.search).get("q") ?? "";
  refresh();
  return { query, refresh };
}

export function keys({ dock, pick, clear }) {
  document.addEventListener("keydown", (event) => {
    if (menuKey(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target;
    const input = document.getElementById("search");
    if (on === input && event.key === "Escape") {
      input.value = "";
      input.dispatchEvent(new Event("input"));
      return input.blur();
    }
    if (on.closest("dialog, input, textarea, select, .log-lines")) {
      if (!(on === input && (event.key === "ArrowDown" || event.key === "Enter"))) return;
    }
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = on.closest("[data-row]");
    if (step) {
      if (event.shiftKey) pick(row, true);
      move(row, step);
      if (event.shiftKey) pick(document.activeElement.closest("[data-row]"), true);
    } else if (event.key === "Home") move(null, 1);
    else if (event.key === "End") move(null, -1);
    else if (event.key === "x") pick(row);
    else if (event.key === "Escape") return clear();
    else if (event.key === "/" && input) input.select();
    else if (event.key === "?") document.getElementById("keys").showModal();
    else if (event.key === "l") dock();
    else if (event.key === "Enter" && on === input && !input.form) move(null, 1);
    else if (event.key === "Enter" && on === row) {
      const more = row.querySelector("[data-menu]");
      if (more) menu(more);
      else row.querySelector("summary, a")?.click();
    } else if (event.key === "o" && row) row.querySelector("a")?.click();
    else return;
    event.preventDefault();
  });
}

function move(row, step) {
  const all = rows();
  const at = row ? all.indexOf(row) + step : step > 0 ? 0 : all.length - 1;
  const next = all[Math.max(0, Math.min(all.length - 1, at))];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
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
    const text = target.dataset.tip ?? (cut(target) ? target.textContent : "");
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
