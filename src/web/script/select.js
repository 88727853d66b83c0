// What is selected: rows, by click, by range, all that are shown. The rows themselves remember it, so that it stays
// while fragments pour in; the bar counts what each row says of its own host.
const chosen = "[data-row][aria-selected=true]";
const all = (what) => [...document.querySelectorAll(what)];

export const rows = () => all("[data-list] [data-row]:not([data-c-off])");

export function selection() {
  const bar = document.getElementById("picked");
  let last;

  function set(list, on) {
    for (const row of list) {
      row.setAttribute("aria-selected", on);
      row.querySelector("[data-pick]").setAttribute("aria-pressed", on);
    }
    refresh();
  }

  // With `range` everything between the last one and this; else this one is turned over.
  function pick(row, range) {
    if (!bar || !row) return;
    const list = rows();
    const [from, to] = [list.indexOf(last), list.indexOf(row)].sort((a, b) => a - b);
    if (range && from >= 0) return set(list.slice(from, to + 1), true);
    last = row;
    set([row], range || row.ariaSelected !== "true");
  }

  const clear = () => set(all(chosen), false);

  function refresh() {
    const { length } = all(chosen);
    if (!bar || (bar.hidden && !length)) return;
    bar.hidden = !length;
    const hidden = all(`${chosen}[data-c-off]`).length;
    const text = `${length} selected${hidden ? `, ${hidden} not shown` : ""}`;
    const count = bar.querySelector("b");
    if (count.textContent !== text) count.textContent = text;
    for (const button of all("#picked [data-key]")) {
      const { key, ask } = button.dataset;
      const hosts = all(`${chosen} [data-offers~="${key}"]`).map((more) => more.dataset.host);
      button.lastElementChild.textContent = hosts.length;
      button.setAttribute("aria-disabled", !hosts[0]);
      button.dataset.body = JSON.stringify({ hosts });
      if (ask) button.dataset.confirm = ask.replace("{hosts}", hosts.join(", "));
    }
  }

  document.addEventListener("click", ({ target, shiftKey }) => {
    const on = target.closest("[data-pick]");
    if (!on) return;
    const row = on.closest("[data-row]");
    if (row) pick(row, shiftKey);
    else if (on.dataset.pick && rows().some((row) => row.ariaSelected !== "true")) set(rows(), true);
    else clear();
  });

  return { pick, clear, refresh };
}
