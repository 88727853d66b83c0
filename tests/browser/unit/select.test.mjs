import assert from "node:assert/strict";
import { test } from "node:test";
import { matches, toggled } from "../../../src/web/script/keys.js";

test("all words of a query are in a row's words, and a filter is a whole word", () => {
  const words = "hsb0 is:online at:home tag:web-server";
  for (const query of ["", "hsb", "HSB0 is:online", "at:home hsb0"]) assert.ok(matches(words, query), query);
  for (const query of ["hsb1", "tag:web", "is:on", "hsb0 at:work"]) assert.ok(!matches(words, query), query);
});

test("a chip's word goes in and out, and takes the place of those beside it", () => {
  const places = ["at:home", "at:work"];
  assert.equal(toggled("", "at:home", places), "at:home");
  assert.equal(toggled("nas at:work", "at:home", places), "nas at:home");
  assert.equal(toggled("nas at:home", "at:home", places), "nas");
  assert.equal(toggled("nas at:home", "", ["", "is:online"]), "", "the chip of all clears it");
});
