// Does what the clicked element says in its data attributes. It knows no op: texts, addresses and bodies are the
// server's. `data-post` sends, `data-log` opens a log, `data-go` leaves, `data-help` says, `data-menu` opens a menu.

const $ = (id) => document.getElementById(id);
export const make = (tag, fields) => Object.assign(document.createElement(tag), fields);

// Opens the dialog that an action asks first: a confirmation, or a form of its own.
function ask(data) {
  const dialog = $(data.form || "ask");
  const form = dialog.querySelector("form");
  const { totp } = form.elements;
  form.reset();
  form.removeAttribute("data-c-done");
  form.asked = data;
  wrong(form);
  if (totp) totp.disabled = totp.parentElement.hidden = !("totp" in data);
  for (const [name, value] of new URLSearchParams(data.fill)) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  for (const part of form.querySelectorAll("[data-says]")) part.textContent = data[part.dataset.says] || part.dataset.else || part.textContent;
  dialog.showModal();
}

function wrong(form, text = "") {
  const place = form.querySelector("[role=alert]");
  place.hidden = !text;
  place.textContent = text;
}

export const say = (title, confirm) => ask({ form: "say", title, confirm });

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
    // No key closes it: nothing else would ask again.
    dialog.onclose = () => login && dialog.showModal();
    form.onsubmit = async (event) => {
      event.preventDefault();
      const error = await enter(new FormData(form)).catch(() => "The dashboard can’t be reached. Try again.");
      wrong(form, error);
      if (error) return;
      form.reset();
      login = null;
      dialog.close();
      done();
    };
    if (!dialog.open) dialog.showModal();
  }));
}

// The page at an address, read and not shown.
export const read = async (url, options) => new DOMParser().parseFromString(await (await fetch(url, options)).text(), "text/html");

// → why it failed, or nothing. The login page itself has the token and, after a failure, the reason.
async function enter(fields) {
  // Who is signed in already, in another tab, is led to a page that has the field in a dialog alone.
  const password = "[name=password]:not(dialog *)";
  const before = await read("/login");
  const field = before.querySelector("[name=csrf_token]");
  if (field && before.querySelector(password)) {
    fields.set("csrf_token", field.value);
    const after = await read("/login", { method: "POST", body: new URLSearchParams(fields) });
    if (after.querySelector(password)) {
      return after.querySelector("[role=alert]")?.textContent.trim() || "That was not right. Try again.";
    }
  }
  const fresh = (await read("/")).querySelector("meta[name=csrf-token]");
  if (!fresh) return "That was not right. Try again.";
  token().content = fresh.content;
  return "";
}

// What a form asks for, as `data-as` says how it is written. What is empty is left out.
export function written(fields) {
  const into = {};
  for (const { name, type, value, checked, disabled, dataset } of fields) {
    if (!name || disabled || (type === "radio" && !checked)) continue;
    const { as } = dataset;
    // `canary.tag` stands in `canary`, which is there when something stands in it.
    const [of, part] = name.split(".");
    const put = (it) => {
      if (!part) into[of] = it;
      else if (it) (into[of] ??= {})[part] = it;
    };
    if (as === "flag") put(checked);
    else if (as === "words") put(value.match(/"[^"]*"|\S+/g)?.map((word) => word.replaceAll('"', "")) ?? null);
    else if (as === "list") checked && (into[name] ??= []).push(value);
    else if (value || as === "color") put(as === "number" ? +value : value || null);
  }
  return into;
}

export function actions({ opened, signedIn, query }) {
  // Sends; asks for the password in between when the session has ended.
  async function send(url, body, method = "POST") {
    const answer = await fetch(url, {
      method,
      headers: { "content-type": "application/json", "x-csrf-token": token().content },
      body: JSON.stringify(body),
    });
    if (answer.status !== 401) return answer;
    await signIn();
    signedIn();
    return send(url, body, method);
  }

  async function post(data, form) {
    const { post: url, body, title } = data;
    const given = JSON.parse(body || "{}");
    const dialog = form?.closest("dialog");
    if (form) {
      const { of } = form.dataset;
      const { totp, ...rest } = written(form.elements);
      Object.assign(given, { totp }, of ? { [of]: { ...given[of], ...rest } } : rest);
    }
    const cut = /down|off/.test(document.documentElement.dataset.link);
    const answer = cut ? null : await send(url, given, data.method).catch(() => null);
    const result = (await answer?.json().catch(() => null)) ?? {};
    if (answer?.ok) {
      const shown = form?.querySelectorAll("[data-result]") ?? [];
      for (const place of shown) place.textContent = result[place.dataset.result];
      if (shown.length) form.setAttribute("data-c-done", "");
      else dialog?.close();
      return "opens" in data ? result.id && opened(result.id, title) : told(title, result.outcomes);
    }
    const text = answer
      ? result.message || result.detail || `The dashboard answered ${answer.status}.`
      : `${title || "It"} was not sent: the dashboard can’t be reached.`;
    const next = result.offer && offered(result.offer, url);
    if (form && !next) return wrong(form, text);
    dialog?.close();
    if (next) ask({ title, confirm: text, yes: result.offer.label, next });
    else if (!answer) toast(text, () => post(data));
    else if (/^totp_(required|invalid)$/.test(result.code)) ask({ ...data, confirm: text, totp: "" });
    else say(title || result.title, text);
  }

  // How it went for each of many hosts.
  function told(title, outcomes) {
    if (!outcomes) return;
    const not = outcomes.filter(({ problem }) => problem);
    toast(`${title}: begun on ${outcomes.length - not.length} of ${outcomes.length}.`);
    if (not[0]) say(title, not.map(({ host, problem }) => `${host ?? title}: ${problem.detail}`).join("\n"));
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
    if (data.form || data.confirm || "totp" in data) ask(data);
    else if (data.post) post(data);
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
    const on = event.target.closest("button, [data-go], [data-more]");
    if (!on) return;
    if ("close" in on.dataset) return on.closest("dialog").close();
    if (on.dataset.more) return event.preventDefault(), more(on);
    if (on.getAttribute("aria-disabled") === "true") return toast(on.dataset.tip);
    if (on.dataset.copyFrom) return copy(on.parentElement.querySelector(on.dataset.copyFrom).innerText);
    if (on.dataset.menu) return menu(on);
    const item = on.closest(".menu");
    const data = item && opener ? filled(on, opener.dataset) : { ...on.dataset };
    // First: so the focus is where a dialog gives it back to.
    item?.hidePopover();
    act(data, on);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const data = form.asked ?? form.dataset;
    if (!data.post && !data.next) return;
    event.preventDefault();
    if (data.post) return post(data, form);
    form.closest("dialog").close();
    act(data.next);
  });
}

// Some pages show more than the live state: what says that it is stale is read anew, as far as it was unfolded.
// Called whenever something was put in place: what came while it was read may not be in it, and so it is read again.
let taken = 0;
export async function renew(doc) {
  const at = ++taken;
  const mark = $("stale");
  if (!mark?.hasAttribute("data-stale")) return;
  mark.removeAttribute("data-stale");
  const url = new URL(location);
  const list = $(document.querySelector("[data-more]")?.dataset.more);
  if (list) url.searchParams.set("limit", list.children.length);
  const main = (await read(url).catch(() => null))?.getElementById("main");
  if (main) doc.morph($("main"), main);
  if (!main || at !== taken) setTimeout(() => $("stale").toggleAttribute("data-stale", true) && renew(doc), 1_000);
}

// The next part of a list, behind what is there.
async function more(link) {
  const page = await read(link.href).catch(() => null);
  const list = page?.getElementById(link.dataset.more);
  if (!list) return toast("The dashboard can’t be reached.");
  $(link.dataset.more).append(...list.children);
  link.replaceWith(page.querySelector("[data-more]") ?? "");
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
  const box = opener?.isConnected && $(opener.dataset.menu);
  if (box && box.matches(":popover-open")) fill(box);
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
