import assert from "node:assert/strict";
import { test } from "node:test";
import { pieces, plain } from "../../../src/web/script/sgr.js";

const read = (line, state = plain()) => pieces(line, state).map(({ text, cls }) => (cls ? `[${cls}]${text}` : text));

test("a line without colours is one piece", () => {
  assert.deepEqual(read("plain <b>text</b>"), ["plain <b>text</b>"]);
  assert.deepEqual(read(""), []);
});

test("colours and weights become classes", () => {
  assert.deepEqual(read("\x1b[31;1merror:\x1b[0m no"), ["[f1 sb]error:", " no"]);
  assert.deepEqual(read("\x1b[92mok\x1b[39m \x1b[43mx\x1b[49my"), ["[f10]ok", " ", "[g3]x", "y"]);
  assert.deepEqual(read("\x1b[2;3;4;9ma\x1b[22;23;24;29mb"), ["[sd si su ss]a", "b"]);
});

test("an empty sequence resets", () => {
  assert.deepEqual(read("\x1b[1ma\x1b[mb"), ["[sb]a", "b"]);
});

test("a colour goes on in the next line until it is reset", () => {
  const state = plain();
  assert.deepEqual(read("\x1b[33mwarning", state), ["[f3]warning"]);
  assert.deepEqual(read("still\x1b[0m no more", state), ["[f3]still", " no more"]);
});

test("256 and true colours become the nearest of the sixteen", () => {
  assert.deepEqual(read("\x1b[38;5;9ma"), ["[f9]a"]);
  assert.deepEqual(read("\x1b[38;5;196ma"), ["[f9]a"]);
  assert.deepEqual(read("\x1b[38;5;28ma"), ["[f2]a"]);
  assert.deepEqual(read("\x1b[38;2;20;20;220ma"), ["[f12]a"]);
  assert.deepEqual(read("\x1b[48;5;244ma"), ["[g7]a"]);
  assert.deepEqual(read("\x1b[38;5;21;1ma"), ["[f12 sb]a"], "what follows counts too");
});

test("half a colour and unknown codes are passed over", () => {
  assert.deepEqual(read("\x1b[38;5ma"), ["a"]);
  assert.deepEqual(read("\x1b[38ma\x1b[999mb\x1b[;;mc"), ["a", "b", "c"]);
});

test("reversed colours change places", () => {
  assert.deepEqual(read("\x1b[7;31ma\x1b[27mb"), ["[fk g1]a", "[f1]b"]);
});
