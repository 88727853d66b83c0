// A window on one command's output. Only some thousand lines are on the page, however long the log: the server knows
// each line by its number and draws those that are looked at. Where it stands outlives a reload.
import { make } from "./act.js";

const LINES = 400; // lines in one block, which comes and goes as a whole
const BLOCKS = 6; // blocks on the page
const TALL = 12e6; // px of the longest log: browsers draw nothing beyond 17 million
const HIGH = 18; // px that a line is taken for where it is not on the page
const NEAR = 900; // px before an edge where the next block is asked for
const HUGE = 2e5; // lines that no clipboard should take
export const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
const marks = window.Highlight && new Highlight();
if (marks) CSS.highlights.set("found", marks);

// A browser that keeps no storage keeps no cookie either, and never gets here.
export const store = { tabs: [], active: "", small: false, wrap: true, at: {}, ...JSON.parse(sessionStorage.logs ?? "{}") };
export const remember = () => (sessionStorage.logs = JSON.stringify(store));

// `#L120` or `#L120-L140` → [120, 140]
export function range(hash) {
  const [, a, b = a] = /^#L(\d+)(?:-L(\d+))?$/.exec(hash) ?? [];
  return a && [+a, +b];
}
export const hash = ([a, b]) => `#L${a}${a === b ? "" : `-L${b}`}`;

// Places of a query in a text, whatever its case; none where another case has another length.
export function places(text, query) {
  const lower = text.toLowerCase();
  const out = [];
  for (let at = -1; query && lower.length === text.length && (at = lower.indexOf(query, at + 1)) >= 0; ) out.push(at);
  return out;
}

// The windows, made where one is first asked for. tab(id): its tab in the dock; homely(id): the page is about it.
export function windows({ socket, copy, toast, doc, views, tab, homely }) {
  // One log, wherever it is shown; `last`: lines that are sent at first.
  function view(id, last = LINES) {
    if (views.has(id)) return views.get(id);
    const root = clone("t-log");
    const one = (selector) => root.querySelector(selector);
    const named = (name) => one(`[data-log-do="${name}"]`);
    const box = one(".log-lines");
    const [above, below] = box.querySelectorAll(".pad");
    const input = one("input");
    const page = `/commands/${id}`;
    const api = `/api/v1${page}/log`;
    const kept = store.at[id];
    let follow = !(kept > 0);
    let [from, to, total, top] = [1, 0, 0, 0]; // lines from…to are on the page
    let busy, asked, marked, wide;
    let [query, hits, found, seen, at] = ["", [], 0, 0, -1];
    const own = { root, take, show, sign, seen: look, go, keep: () => (store.at[id] = follow ? 0 : number(first())) };
    views.set(id, own);
    named("raw").href = `${api}?raw=1`;
    named("page").href = page;

    const rows = () => [...box.querySelectorAll(".ln")];
    const row = (n) => box.querySelector(`[data-n="${n}"]`)?.parentElement;
    const number = (row) => Number(row?.firstChild.dataset.n ?? 1);
    const high = () => Math.min(HIGH, TALL / total);
    const edge = (of, side = "top") => of.getBoundingClientRect()[side];
    const first = () => rows().find((row) => edge(row, "bottom") > edge(box));
    const read = (what) =>
      fetch(`${api}/${what}`)
        .then((answer) => answer.ok && answer.json())
        .catch(() => null);

    // A block of rows at the end.
    function add(block) {
      for (const row of [...block.children]) {
        const n = number(row);
        total = Math.max(total, n);
        let last = below.previousElementSibling;
        // The last line may have gone on.
        if (n === to) last.lastElementChild?.replaceWith(row);
        else if (n === to + 1 && (follow || to - from < LINES * BLOCKS)) {
          if (last === above || last.children.length >= LINES) below.before((last = make("div")));
          last.append(row);
          to = n;
        } else continue;
        dress(row);
      }
    }

    // Takes the blocks away; what comes next is line `n`.
    function clear(n) {
      while (above.nextElementSibling !== below) above.nextElementSibling.remove();
      from = n;
      to = n - 1;
    }

    // The page is as high as the log, and what was in sight stays where it is.
    function steady(change) {
      const row = !follow && first();
      const before = row && edge(row);
      change();
      root.dataset.some = total > 0;
      above.style.height = `${(from - 1) * high()}px`;
      below.style.height = `${(total - to) * high()}px`;
      box.style.setProperty("--digits", String(total).length);
      input.placeholder = `Find in ${total.toLocaleString()} lines`;
      if (row?.isConnected) box.scrollTop += edge(row) - before;
      if (follow) box.scrollTop = box.scrollHeight;
      top = box.scrollTop;
    }

    function bottom() {
      box.scrollTop = box.scrollHeight;
      top = box.scrollTop;
    }

    // Too many blocks: one at the other end goes.
    function trim(front) {
      if (box.children.length <= BLOCKS + 2) return;
      const block = front ? above.nextElementSibling : below.previousElementSibling;
      if (front) from += block.children.length;
      else to -= block.children.length;
      block.remove();
      tell();
    }

    const block = (html) => doc.make(`<div>${html}</div>`);

    // What the socket tells: lines that follow on what is here, how the command stands, the end.
    function take({ line, html, head }) {
      if (head) root.isConnected ? doc.morph(one(".log-head"), doc.make(head)) : one(".log-head").replaceWith(doc.make(head));
      sign();
      steady(() => {
        total = Math.max(total, line - 1);
        if (html && follow && line > to + 1) clear(line);
        if (html) add(block(html));
        if (follow) trim(true);
      });
      if (query && total > seen) asked ||= setTimeout(search, 500);
      look();
    }

    function sign() {
      const head = one(".log-head");
      const place = tab(id)?.querySelector(".tab-state");
      if (!place || !head.firstElementChild) return;
      place.className = `tab-state ${head.classList[1]}`;
      place.replaceChildren(head.querySelector("svg").cloneNode(true));
    }

    // Asks for lines, and gives them to `then`; one thing at a time.
    const fill = (what, then) =>
      (busy = read(`lines?view=html&count=${LINES}${what}`).then((window) => {
        busy = null;
        if (!window) return;
        steady(() => {
          total = Math.max(total, window.count);
          then(window);
        });
      }));

    const anew = ({ line, html }) => {
      clear(line);
      add(block(html));
    };

    // Line `n` is looked at, which may be anywhere; with `b` it is marked, up to `b`.
    async function go(n, b, share = 1 / 3) {
      follow = false;
      if (b) mark([n, b]);
      show();
      await busy;
      if (!row(n)) await fill(`&line=${Math.max(1, n - LINES / 2)}`, anew);
      if (row(n)) box.scrollTop = top = box.scrollTop + edge(row(n)) - edge(box) - box.clientHeight * share;
      look();
    }

    // What is near the edges of the window is asked for.
    function look() {
      if (busy || !box.clientHeight) return;
      if (follow && to < total) return fill("", anew).then(look);
      if (follow) bottom();
      const up = edge(box);
      const down = edge(box, "bottom");
      const a = edge(above, "bottom");
      const b = edge(below);
      if (from > 1 && a > up - NEAR) {
        if (a > down) return go(Math.ceil(box.scrollTop / high()) || 1, 0, 0);
        const begin = Math.max(1, from - LINES);
        fill(`&line=${begin}`, ({ html }) => {
          const fresh = block(html);
          while (number(fresh.lastElementChild) >= from) fresh.lastElementChild.remove();
          above.after(fresh);
          from = begin;
          tell();
          if (!follow) trim();
        }).then(look);
      } else if (to < total && b < down + NEAR) {
        if (b < up) return go(Math.min(total, to + Math.ceil((up - b) / high())), 0, 0);
        fill(`&line=${to + 1}`, ({ html }) => {
          trim(true);
          add(block(html));
        }).then(look);
      }
    }

    // Lines that are marked, the one that the search stands on, and what it found in them.
    function dress(row) {
      const n = number(row);
      row.classList.toggle("on", n >= marked?.[0] && n <= marked[1]);
      row.classList.toggle("hit", n === hits[at]);
      if (!query || !marks) return;
      const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const node = texts.currentNode;
        for (const place of places(node.data, query)) {
          marks.add(new StaticRange({ startContainer: node, startOffset: place, endContainer: node, endOffset: place + query.length }));
        }
      }
    }
    function mark(lines) {
      marked = lines;
      tell();
      if (homely(id)) history.replaceState(null, "", hash(lines));
      named("page").href = page + hash(lines);
    }

    // Looks through what was not looked through yet.
    async function search() {
      const [mine, begin] = [query, seen];
      const answer = mine && (await read(`search?text=${encodeURIComponent(mine)}&from=${begin + 1}`));
      asked = 0;
      // Another one was quicker.
      if (mine !== query || begin !== seen) return;
      if (answer) [hits, found, seen] = [hits.concat(answer.lines), found + answer.count, answer.seen];
      tell();
    }
    function tell() {
      one("output").textContent = query && `${at < 0 ? "" : `${at + 1} of `}${found.toLocaleString()}`;
      for (const one of marks ?? []) if (!one.startContainer.isConnected || box.contains(one.startContainer)) marks.delete(one);
      rows().forEach(dress);
    }
    async function step(by) {
      if (total > seen) await search();
      if (!hits.length) return;
      const near = at < 0 ? hits.findIndex((n) => n >= number(first())) : -1;
      at = near < 0 ? (at + (by || 1) + hits.length) % hits.length : near;
      go(hits[at], hits[at]);
    }

    function show() {
      named("follow").ariaPressed = follow;
      named("wrap").ariaPressed = store.wrap;
      root.classList.toggle("nowrap", !store.wrap);
    }

    box.addEventListener("scroll", () => {
      // Another width moves the lines, and nobody scrolled.
      if (!box.clientHeight || wide !== (wide = box.clientWidth)) return look();
      if (box.scrollHeight - box.scrollTop - box.clientHeight < 24) follow = true;
      else if (box.scrollTop < top - 2) follow = false;
      top = box.scrollTop;
      show();
      look();
    });
    // The browser would glide there, past blocks that come and go.
    box.addEventListener("keydown", (event) => {
      const to_end = event.key === "End";
      if (!to_end && event.key !== "Home") return;
      event.preventDefault();
      if ((follow = to_end)) look();
      else go(1);
    });
    new ResizeObserver(look).observe(box);
    input.addEventListener("input", () => {
      query = input.value.toLowerCase();
      [hits, found, seen, at] = [[], 0, 0, -1];
      tell();
      clearTimeout(asked);
      asked = setTimeout(step, 200, 0);
    });
    input.addEventListener("keydown", ({ key, shiftKey }) => {
      if (key === "Enter") step(shiftKey ? -1 : 1);
      if (key === "Escape") box.focus();
    });
    const tools = {
      follow: () => (follow = !follow),
      wrap() {
        store.wrap = !store.wrap;
        for (const other of views.values()) other.show();
      },
      next: () => step(1),
      back: () => step(-1),
      async error() {
        const n = (await read("first-error"))?.lines[0];
        if (n) go(n, n);
        else toast("No error was found.");
      },
      async copy() {
        const chosen = getSelection();
        if (box.contains(chosen.anchorNode) && String(chosen)) return copy(String(chosen));
        const answer = total < HUGE && (await fetch(`${api}?raw=1`).catch(() => null));
        if (answer?.ok) copy(await answer.text());
        else toast("Too much to copy. Download it.");
      },
    };
    root.addEventListener("click", (event) => {
      const { target: on, shiftKey, ctrlKey, metaKey } = event;
      const n = Number(on.dataset.n);
      if (n && !ctrlKey && !metaKey) {
        event.preventDefault();
        mark([n, (shiftKey && marked?.[0]) || n].sort((x, y) => x - y));
      }
      tools[on.closest("[data-log-do]")?.dataset.logDo]?.();
      show();
      look();
    });
    show();
    socket.follow(id, () => ({ line: total || 1, last }));
    if (!follow) go(kept, 0, 0);
    return own;
  }

  return view;
}
