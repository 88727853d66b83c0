import assert from "node:assert/strict";
import { test } from "node:test";
import { ago } from "../../../src/web/script/time.js";

test("moments read as the first render has them", () => {
  for (const [seconds, text] of [[-9, "now"], [0, "now"], [4.9, "now"], [5, "5 s ago"], [61, "1 min ago"], [7_200, "2 h ago"], [200_000, "2 d ago"]]) {
    assert.equal(ago(seconds * 1_000), text);
  }
});
