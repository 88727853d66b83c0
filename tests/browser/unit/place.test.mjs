import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, ours, place } from "../../../src/web/script/place.js";

// As much of a document as placing needs: elements with ids in a list.
class Element {
  constructor(id, html) {
    Object.assign(this, { id, html, children: [], parent: null, attributes: {} });
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  get lastElementChild() {
    return this.children.at(-1);
  }
  get nextElementSibling() {
    return this.parent.children[this.parent.children.indexOf(this) + 1] ?? null;
  }
  remove() {
    this.parent.children.splice(this.parent.children.indexOf(this), 1);
    this.parent = null;
  }
  insertBefore(node, next) {
    if (node.parent) node.remove();
    this.children.splice(next ? this.children.indexOf(next) : this.children.length, 0, node);
    node.parent = this;
  }
  prepend(node) {
    this.insertBefore(node, this.children[0]);
  }
}

function page(...ids) {
  const list = new Element("list", "");
  for (const id of ids) list.insertBefore(new Element(id, "old"), null);
  const tools = {
    find: (id) => (id === "list" ? list : list.children.find((child) => child.id === id)),
    make: (html) => new Element(html.split(":")[0], html),
    morph: (old, fresh) => (old.html = fresh.html),
  };
  return { list, tools, put: (...fragments) => place(fragments, tools), ids: () => list.children.map(({ id }) => id).join(" ") };
}
const insert = (id, before = null) => ({ id, place: { insert: { into: "list", before } }, html: `${id}:new` });
const prepend = (id, keep) => ({ id, place: { prepend: { into: "list", keep } }, html: `${id}:new` });

test("an element is morphed, not replaced", () => {
  const { list, put } = page("a", "b");
  const [old] = list.children;
  put({ id: "a", place: "morph", html: "a:new" });
  assert.equal(list.children[0], old);
  assert.equal(old.html, "a:new");
});

test("what is not on this page is passed over", () => {
  const { put, ids } = page("a");
  put({ id: "x", place: "morph", html: "x:new" }, { id: "x", place: "remove", html: "" });
  put({ id: "y", place: { insert: { into: "elsewhere", before: null } }, html: "y:new" });
  assert.equal(ids(), "a");
});

test("a new row stands before the one that follows it, or last", () => {
  const { list, put, ids } = page("a", "c");
  put(insert("b", "c"), insert("d"), insert("e", "gone"));
  assert.equal(ids(), "a b c d e");
  assert.equal(list.children[1].attributes["data-c-new"], "");
});

test("rows that came while the tab was away stand in order, whichever comes first", () => {
  const { put, ids } = page("a", "x");
  put(insert("c", "d"), insert("b", "c"), insert("d", "x"));
  assert.equal(ids(), "a b c d x");
});

test("a row that is there already moves to its new place", () => {
  const { list, put, ids } = page("a", "b", "c");
  const [a] = list.children;
  put(insert("a", null));
  assert.equal(ids(), "b c a");
  assert.equal(list.children[2], a);
  assert.equal(a.html, "a:new");
});

test("a row that is in its place already is not touched", () => {
  const { list, put } = page("a", "b");
  list.insertBefore = () => assert.fail("moved");
  put(insert("a", "b"));
});

test("the first comes on top and the last ones go", () => {
  const { put, ids } = page("a", "b", "c");
  put(prepend("n", 3));
  assert.equal(ids(), "n a b");
  put(prepend("n", 3));
  assert.equal(ids(), "n a b", "the same one again");
});

test("what the script keeps in attributes no morph takes away", () => {
  assert.ok(ours("data-c-off") && ours("aria-expanded") && ours("aria-pressed"));
  assert.ok(!ours("class") && !ours("data-post") && !ours("aria-disabled"));
});

test("what the state does not have is asked for, where the page has it", () => {
  const asked = [];
  const { list, tools } = page("a");
  place([{ id: "a", place: "ask" }, { id: "b", place: "ask" }], { ...tools, ask: (id) => asked.push(id) });
  assert.deepEqual(asked, ["a"]);
  assert.equal(list.children.length, 1);
});

test("one is asked for after the other, and again where nobody answered", async (t) => {
  const shown = [];
  const answers = [
    () => Promise.reject(new Error("no network")),
    () => ({ redirected: true, ok: true, text: () => "login" }),
    () => ({ status: 404, text: () => "gone" }),
    () => ({ ok: true, text: () => "first" }),
    () => ({ ok: true, text: () => "second" }),
  ];
  t.mock.method(globalThis, "setTimeout", (again, _, id) => queueMicrotask(() => again(id)));
  globalThis.fetch = async (url) => (shown.push(url), answers.shift()());
  globalThis.document = {
    createElement: () => ({ set innerHTML(html) { this.content = { firstElementChild: html }; } }),
    getElementById: () => ({ dataset: { src: "/part" } }),
  };
  const doc = browser({ morph: (_, fresh) => shown.push(fresh) });
  for (let ask = 0; ask < 3; ask += 1) doc.ask("past");
  while (answers.length) await new Promise(setImmediate);
  await new Promise(setImmediate);
  assert.deepEqual(shown.filter((it) => it !== "/part"), ["first", "second"]);
  assert.equal(shown.filter((it) => it === "/part").length, 5);
  delete globalThis.fetch;
  delete globalThis.document;
});
