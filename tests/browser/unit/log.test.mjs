import assert from "node:assert/strict";
import { test } from "node:test";

// Its module reads what the browser kept as soon as it is loaded.
globalThis.window = {};
globalThis.sessionStorage = {};
const { hash, places, range } = await import("../../../src/web/script/log.js");

test("a link to a line, or to some", () => {
  assert.deepEqual(range("#L120"), [120, 120]);
  assert.deepEqual(range("#L120-L140"), [120, 140]);
  for (const other of ["", "#", "#L", "#x", "#L1-", "#L1-2", "#L1x"]) assert.equal(range(other), undefined);
  assert.equal(hash([120, 120]), "#L120");
  assert.equal(hash([120, 140]), "#L120-L140");
});

test("a query is found in a text, whatever its case", () => {
  assert.deepEqual(places("An ERROR: no error", "error"), [3, 13]);
  assert.deepEqual(places("nothing", "error"), []);
  assert.deepEqual(places("anything", ""), []);
  assert.deepEqual(places("aaa", "aa"), [0, 1]);
  // Small, it is longer: no place in it can be told.
  assert.deepEqual(places("İ error", "error"), []);
});
