// What is selected: rows, by click, by range, all that are shown. The rows themselves remember it, so that it stays
// while fragments pour in; the bar counts what each row says of its own host.

// The rows of the page's list: its children, so that with a thousand of them nothing below them is looked through.
export const list = () => [...((document.getElementById("hosts") ?? document.querySelector("[data-list] ol"))?.children ?? [])];
const on = (row) => row.ariaSelected === "true";
const hidden = (row) => "cOff" in row.dataset;

export const rows = () => list().filter((row) => !hidden(row));

export function selection() {
  const bar = document.getElementById("picked");
  let last;

  function set(some, to) {
    for (const row of some) {
      row.setAttribute("aria-selected", to);
      row.querySelector("[data-pick]").setAttribute("aria-pressed", to);
    }
    refresh();
  }

  // With `range` everything between the last one and this; else this one is turned over.
  function pick(row, range) {
    if (!bar || !row) return;
    const all = rows();
    const [from, to] = [all.indexOf(last), all.indexOf(row)].sort((a, b) => a - b);
    if (range && from >= 0) return set(all.slice(from, to + 1), true);
    last = row;
    set([row], range || !on(row));
  }

  const clear = () => set(list().filter(on), false);

  function refresh() {
    const chosen = list().filter(on);
    if (!bar || (bar.hidden && !chosen[0])) return;
    bar.hidden = !chosen[0];
    const away = chosen.filter(hidden).length;
    const text = `${chosen.length} selected${away ? `, ${away} not shown` : ""}`;
    const count = bar.querySelector("b");
    if (count.textContent !== text) count.textContent = text;
    const offered = {};
    for (const row of chosen) {
      const { offers, host } = row.querySelector("[data-offers]").dataset;
      for (const key of offers.split(" ")) (offered[key] ??= []).push(host);
    }
    for (const button of bar.querySelectorAll("[data-key]")) {
      const { key, ask } = button.dataset;
      const hosts = offered[key] ?? [];
      button.lastElementChild.textContent = hosts.length;
      button.setAttribute("aria-disabled", !hosts[0]);
      button.dataset.body = JSON.stringify({ hosts });
      if (ask) button.dataset.confirm = ask.replace("{hosts}", hosts.join(", "));
    }
  }

  document.addEventListener("click", ({ target, shiftKey }) => {
    const by = target.closest("[data-pick]");
    if (!by) return;
    const row = by.closest("[data-row]");
    if (row) pick(row, shiftKey);
    else if (by.dataset.pick && !rows().every(on)) set(rows(), true);
    else clear();
  });

  return { pick, clear, refresh };
}
