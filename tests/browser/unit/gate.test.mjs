import assert from "node:assert/strict";
import { test } from "node:test";
import { coalesce, delay, gate } from "../../../src/web/script/gate.js";

const own = { epoch: "e", version: 7 };
const morph = (id, html = "") => ({ id, place: "morph", html });
const delta = (version, ...fragments) => ({ type: "delta", epoch: "e", version, payload: { fragments } });

test("the next delta is applied", () => {
  const step = gate(own, delta(8, morph("a")));
  assert.deepEqual(step, { own: { epoch: "e", version: 8 }, fragments: [morph("a")], ask: null });
});

test("a delta without fragments still counts", () => {
  assert.equal(gate(own, { type: "delta", epoch: "e", version: 8, payload: {} }).own.version, 8);
});

test("a delta that is known already changes nothing", () => {
  assert.deepEqual(gate(own, delta(7, morph("a"))), { own, fragments: [], ask: null });
});

test("after a gap nothing is applied and the rest is asked for", () => {
  assert.deepEqual(gate(own, delta(9, morph("a"))), { own, fragments: [], ask: "resume" });
});

test("several deltas are applied as far as they follow each other", () => {
  const deltas = [6, 7, 8, 9, 11].map((version) => ({ version, fragments: [morph(`v${version}`)] }));
  const step = gate(own, { type: "deltas", epoch: "e", version: 11, payload: { deltas } });
  assert.equal(step.own.version, 9);
  assert.deepEqual(step.fragments.map(({ id }) => id), ["v8", "v9"]);
  assert.equal(step.ask, "resume");
});

test("the answer that nothing was missed asks for nothing", () => {
  assert.deepEqual(gate(own, { type: "deltas", epoch: "e", version: 7, payload: { deltas: [] } }).ask, null);
});

test("another epoch asks for everything", () => {
  assert.equal(gate(own, { ...delta(8, morph("a")), epoch: "f" }).ask, "get_state");
  assert.equal(gate(own, { type: "sync", epoch: "f", version: 7 }).ask, "get_state");
});

test("a beacon with another version asks for what is missing", () => {
  assert.equal(gate(own, { type: "sync", epoch: "e", version: 7 }).ask, null);
  assert.equal(gate(own, { type: "sync", epoch: "e", version: 8 }).ask, "resume");
});

test("the whole state is taken whatever was there before", () => {
  for (const type of ["init", "full_state"]) {
    const step = gate(own, { type, epoch: "f", version: 2, payload: { fragments: [morph("a")] } });
    assert.deepEqual(step, { own: { epoch: "f", version: 2 }, fragments: [morph("a")], ask: null });
  }
});

test("an unknown frame is passed over", () => {
  assert.deepEqual(gate(own, { type: "news", epoch: "e", version: 7 }), { own, fragments: [], ask: null });
});

test("of several morphs of one element the last is done", () => {
  const add = { id: "c", place: { prepend: { into: "list", keep: 2 } }, html: "" };
  const list = [morph("a", "1"), morph("b", "1"), add, morph("a", "2"), add];
  assert.deepEqual(coalesce(list), [morph("b", "1"), add, morph("a", "2"), add]);
});

test("what is asked for is asked for once, and is no morph", () => {
  const ask = (id) => ({ id, place: "ask", html: "" });
  assert.deepEqual(coalesce([ask("a"), morph("a"), ask("b"), ask("a")]), [morph("a"), ask("b"), ask("a")]);
});

test("tries get rarer, are spread out, and never stop", () => {
  assert.equal(delay(0, 0), 100);
  assert.ok(delay(0, 1) <= 400);
  assert.equal(delay(5, 1), 9_700);
  assert.equal(delay(1_000, 1), 10_100);
  assert.ok(delay(3, 0.2) < delay(3, 0.8));
});

test("what waits for the top of a list is no more than the list keeps, the newest", () => {
  const first = (id) => ({ id, place: { prepend: { into: "events", keep: 2 } }, html: id });
  const waiting = [first("a"), morph("row"), first("b"), first("c"), first("d")];
  assert.deepEqual(coalesce(waiting).map(({ id }) => id), ["row", "c", "d"]);
});

test("an old line that changed once more does not come to the top for it", () => {
  const first = (id) => ({ id, place: { prepend: { into: "commands", keep: 2 } }, html: id });
  const waiting = [first("a"), first("b"), first("c"), first("a")];
  assert.deepEqual(coalesce(waiting).map(({ id }) => id), ["b", "c"]);
});
