// Colours of output: a line with SGR sequences becomes pieces of text with class names. The stylesheet has the
// colours, 16 of them; the other 240 and true colours become the nearest of those.

export const plain = () => ({ f: "", g: "", b: false, d: false, i: false, u: false, s: false, r: false });

const SEQUENCE = /\x1b\[([0-9;:]*)m/g;

// → [{text, cls}]; `state` goes on to the next line.
export function pieces(line, state) {
  const out = [];
  let from = 0;
  const put = (text) => text && out.push({ text, cls: classes(state) });
  for (const match of line.matchAll(SEQUENCE)) {
    put(line.slice(from, match.index));
    from = match.index + match[0].length;
    apply(match[1], state);
  }
  put(line.slice(from));
  return out;
}

function classes({ f, g, b, d, i, u, s, r }) {
  const [fore, back] = r ? [g || "k", f || "w"] : [f, g];
  const names = [];
  if (fore !== "") names.push(`f${fore}`);
  if (back !== "") names.push(`g${back}`);
  if (b) names.push("sb");
  if (d) names.push("sd");
  if (i) names.push("si");
  if (u) names.push("su");
  if (s) names.push("ss");
  return names.join(" ");
}

function apply(text, state) {
  const codes = text.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at];
    if (code === 0) Object.assign(state, plain());
    else if (code === 1) state.b = true;
    else if (code === 2) state.d = true;
    else if (code === 3) state.i = true;
    else if (code === 4) state.u = true;
    else if (code === 7) state.r = true;
    else if (code === 9) state.s = true;
    else if (code === 22) state.b = state.d = false;
    else if (code === 23) state.i = false;
    else if (code === 24) state.u = false;
    else if (code === 27) state.r = false;
    else if (code === 29) state.s = false;
    else if (code >= 30 && code <= 37) state.f = code - 30;
    else if (code >= 90 && code <= 97) state.f = code - 82;
    else if (code >= 40 && code <= 47) state.g = code - 40;
    else if (code >= 100 && code <= 107) state.g = code - 92;
    else if (code === 39) state.f = "";
    else if (code === 49) state.g = "";
    else if (code === 38 || code === 48) {
      const many = codes[at + 1] === 5 ? 2 : codes[at + 1] === 2 ? 4 : 0;
      if (!many || at + many >= codes.length) return;
      state[code === 38 ? "f" : "g"] = many === 2 ? indexed(codes[at + 2]) : nearest(codes[at + 2], codes[at + 3], codes[at + 4]);
      at += many;
    }
  }
}

function indexed(n) {
  if (n < 16) return n;
  if (n >= 232) return nearest((n - 232) * 10 + 8, (n - 232) * 10 + 8, (n - 232) * 10 + 8);
  const level = (v) => (v ? v * 40 + 55 : 0);
  return nearest(level(Math.floor((n - 16) / 36)), level(Math.floor(((n - 16) % 36) / 6)), level((n - 16) % 6));
}

// The nearest of the 16: which of red, green and blue are strong, and whether it is bright.
function nearest(r, g, b) {
  const top = Math.max(r, g, b);
  if (top - Math.min(r, g, b) < 32) return top < 48 ? 0 : top < 128 ? 8 : top < 208 ? 7 : 15;
  const strong = (v) => v > top * 0.6;
  return (strong(r) | (strong(g) << 1) | (strong(b) << 2)) + (top > 200 ? 8 : 0);
}
