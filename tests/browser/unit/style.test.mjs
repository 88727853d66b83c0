// The stylesheet's tokens: every text on every ground in both themes is readable (WCAG 2.2 AA).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (path) => readFileSync(new URL(`../../../src/web/${path}`, import.meta.url), "utf8");
const tokens = Object.fromEntries(
  [...read("style/tokens.css").matchAll(/--([\w-]+): light-dark\((#\w+), (#\w+)\)/g)].map(([, name, light, dark]) => [name, { light, dark }]),
);

function light(hex) {
  const parts = hex.slice(1).match(/../g).map((part) => parseInt(part, 16) / 255);
  const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(one, other) {
  const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}

const texts = ["ink", "ink2", "ink3", "ok-t", "todo-t", "bad-t", "work-t", "grey-t"];
for (const theme of ["light", "dark"]) {
  test(`texts are readable on every ground, ${theme}`, () => {
    for (const text of [...texts, "accent"]) {
      for (const ground of ["paper", "panel", "raise", "hover"]) {
        const found = contrast(tokens[text][theme], tokens[ground][theme]);
        assert.ok(found >= 4.5, `--${text} on --${ground}: ${found.toFixed(2)}`);
      }
    }
    assert.ok(contrast(tokens["on-accent"][theme], tokens.accent[theme]) >= 4.5);
  });
  test(`edges of fields, focus and signs can be seen, ${theme}`, () => {
    for (const sign of ["edge", "focus", "ok", "todo-edge", "bad", "work", "grey"]) {
      for (const ground of ["paper", "panel", "raise", "hover"]) {
        const found = contrast(tokens[sign][theme], tokens[ground][theme]);
        assert.ok(found >= 3, `--${sign} on --${ground}: ${found.toFixed(2)}`);
      }
    }
  });
}

test("each colour that can be chosen tints the name in every browser", () => {
  const chosen = [...read("../model/src/ops/args.rs").matchAll(/\("(#[0-9a-f]{6})", "/g)].map(([, colour]) => colour);
  const known = [...read("style/table.css").matchAll(/\[data-color="(#\w+)"\] \{\s+--own: (#\w+);/g)].map(([, name, colour]) => [name, colour]);
  assert.deepEqual(known, chosen.map((colour) => [colour, colour]));
  assert.ok(chosen.length > 9);
});

test("nothing is loaded from elsewhere", () => {
  const urls = [...read("static/app.css").matchAll(/url\(([^)]+)\)/g)].map(([, url]) => url);
  assert.equal(urls.length, 2);
  for (const url of urls) assert.match(url, /^\.\/vendor\/[\w-]+\.woff2$/);
});
