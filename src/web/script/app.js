// The live page: what arrives is put in place, what is clicked is sent. It knows no op, no state and no colour.
import { actions, copy, refill, renew, signIn, toast } from "./act.js";
import { logs } from "./dock.js";
import { keys, search, tips } from "./keys.js";
import { live } from "./live.js";
import { browser, place } from "./place.js";
import { selection } from "./select.js";
import { tick } from "./time.js";

const { page, epoch, version } = document.body.dataset;
const doc = browser(window.Idiomorph);
const picks = selection();
const finder = search(picks.refresh);
let dock;

const socket = live({
  own: { epoch, version: Number(version) },
  page,
  take(fragments) {
    place(fragments, doc);
    finder.refresh();
    refill();
    renew(doc);
  },
  log: (payload) => dock.take(payload),
  show(state, since) {
    const { dataset } = document.documentElement;
    if (dataset.link === state) return;
    dataset.link = state;
    if (since) document.getElementById("link-since").dateTime = new Date(since).toISOString();
    tick();
  },
  async out() {
    await signIn();
    socket.signedIn();
  },
});
dock = logs({ socket, copy, toast, doc });
actions({
  opened: dock.open,
  signedIn: socket.signedIn,
  query: finder.query,
});
keys({ dock: dock.size, ...picks });
tips();
tick();
setInterval(() => (tick(), renewed()), 1_000);
for (const origin of document.querySelectorAll("[data-origin]")) origin.textContent = `${location.origin.replace("http", "ws")}/ws`;

// What a load would lose: a dialog, a menu, what is unfolded, selected or written.
const BUSY =
  "dialog[open], :popover-open, details[open]:not(dialog *), [aria-selected=true], :is(input, select):focus, :not(#search, dialog *, :placeholder-shown):is(:user-valid, :user-invalid)";

// Another build of the dashboard comes with another script: the tab loads itself anew, once, when nothing is lost by it.
function renewed() {
  const build = document.getElementById("build").textContent;
  if (import.meta.url.endsWith(build) || sessionStorage.build === build || document.querySelector(BUSY)) return;
  if (document.documentElement.dataset.link !== "up") return;
  sessionStorage.build = build;
  location.reload();
}
