import assert from "node:assert/strict";
import { test } from "node:test";
import { written } from "../../../src/web/script/act.js";

const field = (name, value, as, more = {}) => ({ name, value, type: "text", checked: false, dataset: { as }, ...more });
const box = (name, value, as, checked, type = "checkbox") => field(name, value, as, { type, checked });

test("what is empty is left out, or null where that means something", () => {
  const fields = [field("unit", ""), field("lines", "", "number"), field("tags", " ", "words"), field("color", "", "color")];
  assert.deepEqual(written(fields), { tags: null, color: null });
});

test("numbers are numbers and texts stay texts", () => {
  assert.deepEqual(written([field("lines", "200", "number"), field("unit", "7", "text")]), { lines: 200, unit: "7" });
});

test("words are split at spaces, and quotes hold them together", () => {
  assert.deepEqual(written([field("argv", ' echo  "a b" $HOME "" ', "words")]), { argv: ["echo", "a b", "$HOME", ""] });
});

test("of radio buttons the chosen one counts, of boxes each", () => {
  const fields = [
    box("mode", "safe", "text", false, "radio"),
    box("mode", "aggressive", "text", true, "radio"),
    box("follow", "on", "flag", false),
    box("scopes", "read", "list", true),
    box("scopes", "admin", "list", false),
    box("scopes", "metrics", "list", true),
    field("", "yes"),
  ];
  assert.deepEqual(written(fields), { mode: "aggressive", follow: false, scopes: ["read", "metrics"] });
});

test("a name with a dot stands in what it is of, which is there when something stands in it", () => {
  const canary = (tag, hosts) => [field("canary.tag", tag, "text"), field("canary.hosts", hosts, "words")];
  assert.deepEqual(written(canary("", "")), {});
  assert.deepEqual(written(canary("web", " ")), { canary: { tag: "web" } });
  assert.deepEqual(written(canary("", "a b")), { canary: { hosts: ["a", "b"] } });
});
