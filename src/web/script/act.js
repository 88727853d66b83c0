// Does what the clicked element says in its data attributes. It knows no op: texts, addresses and bodies are the
// server's. `data-post` sends, `data-log` opens a log, `data-go` leaves, `data-help` says, `data-menu` opens a menu.

const $ = (id) => document.getElementById(id);
export const make = (tag, fields) => Object.assign(document.createElement(tag), fields);

// Opens a dialog and waits for what was chosen: {value, totp}, or null.
function choose(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}

async function confirmed({ title, text, yes, code }) {
  const dialog = $("ask");
  const input = dialog.querySelector("input");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-code").hidden = !code;
  input.required = Boolean(code);
  input.value = "";
  dialog.querySelector("[value=yes] span").textContent = yes || "Go on";
  return (await choose(dialog)) === "yes" ? { totp: input.value.replaceAll(" ", "") } : null;
}

export function say(title, text) {
  $("say-title").textContent = title;
  $("say-text").textContent = text;
  return choose($("say"));
}

export function toast(text, retry) {
  const box = $("toasts");
  const one = make("p", { textContent: text });
  if (retry) {
    const button = make("button", { className: "btn small", textContent: "Try again" });
    button.onclick = () => (one.remove(), retry());
    one.append(button);
  }
  box.append(one);
  box.showPopover?.();
  setTimeout(() => {
    one.remove();
    if (!box.children.length) box.hidePopover?.();
  }, retry ? 15_000 : 5_000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard; the old way still works.
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied.");
}

const token = () => document.querySelector("meta[name=csrf-token]");
let login = null;

// Asks for the password in place, until it is right. All that wait for it go on together.
export function signIn() {
  return (login ??= new Promise((done) => {
    const dialog = $("login");
    const form = dialog.querySelector("form");
    const wrong = dialog.querySelector("[role=alert]");
    dialog.oncancel = (event) => event.preventDefault();
    form.onsubmit = async (event) => {
      event.preventDefault();
      const error = await enter(new FormData(form)).catch(() => "The dashboard can’t be reached. Try again.");
      wrong.hidden = !error;
      wrong.textContent = error;
      if (error) return;
      form.reset();
      dialog.close();
      login = null;
      done();
    };
    if (!dialog.open) dialog.showModal();
  }));
}

// → why it failed, or nothing. The login page itself has the token and, after a failure, the reason.
async function enter(fields) {
  const page = async (answer) => new DOMParser().parseFromString(await answer.text(), "text/html");
  const before = await page(await fetch("/login"));
  const field = before.querySelector("[name=csrf_token]");
  if (field && before.querySelector("[name=password]")) {
    fields.set("csrf_token", field.value);
    const after = await page(await fetch("/login", { method: "POST", body: new URLSearchParams(fields) }));
    if (after.querySelector("[name=password]:not(dialog *)")) {
      return after.querySelector("[role=alert]")?.textContent.trim() || "That was not right. Try again.";
    }
  }
  const inside = await page(await fetch("/"));
  const fresh = inside.querySelector("meta[name=csrf-token]");
  if (!fresh) return "That was not right. Try again.";
  token().content = fresh.content;
  return "";
}

export function actions({ opened, signedIn, query }) {
  // Sends; asks for the password in between when the session has ended.
  async function send(url, body) {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf-token": token().content },
      body: JSON.stringify(body),
    });
    if (answer.status !== 401) return answer;
    await signIn();
    signedIn();
    return send(url, body);
  }

  async function post(data) {
    const { post: url, body, confirm, yes, title } = data;
    const given = JSON.parse(body || "{}");
    if (confirm || "totp" in data) {
      const answer = await confirmed({ title, text: confirm, yes, code: "totp" in data });
      if (!answer) return;
      if (answer.totp) given.totp = answer.totp;
    }
    const answer = await send(url, given).catch(() => null);
    if (!answer) return toast(`${title || "It"} was not sent: the dashboard can’t be reached.`, () => post(data));
    const result = await answer.json().catch(() => ({}));
    if (answer.ok) return "opens" in data ? result.id && opened(result.id, title) : told(title, result.outcomes);
    const text = result.message || result.detail || `The dashboard answered ${answer.status}.`;
    if (/^totp_(required|invalid)$/.test(result.code)) return post({ ...data, confirm: text, totp: "" });
    const next = result.offer && offered(result.offer, url);
    if (!next) return say(title || result.title, text);
    if (await confirmed({ title, text, yes: result.offer.label })) act(next);
  }

  // How it went for each of many hosts.
  function told(title, outcomes) {
    if (!outcomes) return;
    const not = outcomes.filter(({ problem }) => problem);
    toast(`${title}: begun on ${outcomes.length - not.length} of ${outcomes.length}.`);
    if (not[0]) say(title, not.map(({ host, problem }) => `${host}: ${problem.detail}`).join("\n"));
  }

  // What a refused command offers instead, in the same attributes as everything that can be clicked.
  function offered({ kind, op, pipeline, command_id: command, label }, url) {
    const host = decodeURIComponent(url.match(/\/hosts\/([^/]+)\//)?.[1] ?? "");
    const title = host ? `${host} · ${label}` : label;
    if (kind === "op") {
      const item = document.querySelector(`[role=menuitem][data-key="${op}"]`);
      return { post: `/api/v1/hosts/${host}/ops/${op}`, opens: "", yes: label, title, ...(item && filled(item, { host })) };
    }
    if (kind === "pipeline") return { post: `/api/v1/pipelines/${pipeline}/runs`, body: JSON.stringify({ hosts: [host] }), title };
    if (kind === "log") return { log: command, title: host || title };
    if (kind === "stop") return { post: `/api/v1/commands/${command}/stop`, title };
    return host && { go: `/hosts/${host}` };
  }

  function act(data, on) {
    if (data.post) post(data);
    else if (data.log) opened(data.log, data.title);
    else if (data.go) location.assign(data.go);
    else if (data.help) say(data.title, data.help);
    else if (data.dialog) $(data.dialog).showModal();
    else if (data.query !== undefined) return query(on);
    else if (data.copy) copy(data.copy);
    else return false;
    return true;
  }

  document.addEventListener("click", (event) => {
    const on = event.target.closest("button, [data-go]");
    if (!on) return;
    if (on.getAttribute("aria-disabled") === "true") return toast(on.dataset.tip);
    if (on.dataset.copyFrom) return copy(on.parentElement.querySelector(on.dataset.copyFrom).innerText);
    if (on.dataset.menu) return menu(on);
    const item = on.closest("[popover]");
    const data = item && opener ? filled(on, opener.dataset) : { ...on.dataset };
    if (act(data, on)) item?.hidePopover();
  });
}

// The one menu of all rows. `{name}` in its items stands for the opener's `data-name`.
let opener = null;

const filled = (item, values) =>
  Object.fromEntries(Object.entries(item.dataset).map(([key, text]) => [key, text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "")]));

export function menu(from) {
  const box = $(from.dataset.menu);
  if (box.matches(":popover-open")) return box.hidePopover();
  opener = from;
  fill(box);
  box.showPopover();
  const { right, bottom, top } = from.getBoundingClientRect();
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(8, right - width)}px`;
  box.style.top = `${bottom + height + 4 > innerHeight ? Math.max(8, top - height - 4) : bottom + 4}px`;
  box.ontoggle = ({ newState }) => {
    from.setAttribute("aria-expanded", newState === "open");
    if (newState === "closed" && (box.contains(document.activeElement) || document.activeElement === document.body)) from.focus();
  };
  (items(box)[0] ?? box.querySelector("button"))?.focus();
}

const items = (box) => [...box.querySelectorAll("[role=menuitem]:not([hidden])")];

// What the opener says is off, is off, and says why; what needs something that it has not, is not there.
function fill(box) {
  const why = {};
  for (const line of opener.dataset.off?.split("\n") ?? []) {
    const at = line.indexOf(": ");
    for (const key of line.slice(0, at).split(" ")) why[key] = line.slice(at + 2);
  }
  const list = box.querySelector("[data-fill]");
  const { card = "" } = opener.dataset;
  // The same offers are left alone: one of them has the focus.
  if (list && list.card !== card) list.innerHTML = list.card = card;
  for (const name of box.querySelectorAll("[data-text]")) name.textContent = filled(name, opener.dataset).text;
  for (const item of box.querySelectorAll("[role=menuitem]")) {
    const { key, about, post, log } = item.dataset;
    item.hidden = [...`${post} ${log}`.matchAll(/\{(\w+)\}/g)].some(([, name]) => !opener.dataset[name]);
    if (!key) continue;
    item.hidden = why[key] === "";
    item.setAttribute("aria-disabled", key in why);
    item.dataset.tip = why[key] ?? about;
  }
}

// After fragments came: the open menu shows what is offered now.
export function refill() {
  const box = document.querySelector(".menu:popover-open");
  if (box && opener?.isConnected) fill(box);
}

export function menuKey(event) {
  const box = event.target.closest?.(".menu");
  if (!box) return false;
  const all = items(box);
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (event.key === "Tab") box.hidePopover();
  if (to === undefined) return true;
  event.preventDefault();
  all.at(to % all.length).focus();
  return true;
}
