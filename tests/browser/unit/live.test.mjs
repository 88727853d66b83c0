import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { live } from "../../../src/web/script/live.js";

// What the browser is to the script: sockets that open and close when a test says so, and time that a test moves.
let sockets, events, shown, taken, network;

class Socket {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  constructor(url) {
    Object.assign(this, { url, readyState: 0, sent: [] });
    sockets.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  opens() {
    this.readyState = 1;
    this.onopen();
  }
  says(type, version = 7, payload) {
    this.onmessage({ data: JSON.stringify({ type, epoch: "e", version, payload }) });
  }
  breaks(code = 1006) {
    this.readyState = 3;
    this.onclose({ code });
  }
}

const at = () => sockets.at(-1);
const on = (name) => events[name]?.forEach((listener) => listener({}));
const pass = (ms) => mock.timers.tick(ms);

beforeEach(() => {
  [sockets, events, shown, taken, network] = [[], {}, [], [], { onLine: true }];
  const addEventListener = (name, listener) => (events[name] ??= []).push(listener);
  const now = { body: { dataset: {} }, hidden: false, addEventListener, getElementById: () => ({ addEventListener }) };
  Object.assign(globalThis, { WebSocket: Socket, location: { protocol: "http:", host: "fleet" }, document: now, addEventListener });
  globalThis.fetch = async () => null;
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: network });
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
});
afterEach(() => mock.timers.reset());

function begin() {
  const tab = live({
    own: { epoch: "e", version: 7 },
    page: "fleet",
    take: (fragments) => taken.push(...fragments),
    log() {},
    show: (state) => shown.at(-1) === state || shown.push(state),
    out() {},
  });
  at().opens();
  at().says("deltas", 7, { deltas: [] });
  return tab;
}

test("a cut that is over within a second and a half is not told of", () => {
  begin();
  at().breaks();
  pass(1_400);
  at().opens();
  pass(60_000);
  assert.deepEqual(shown, ["up"]);
});

test("a longer one is told of once, and its end too", () => {
  begin();
  at().breaks();
  for (let n = 0; n < 20; n += 1) {
    pass(700);
    if (at().readyState === 0) at().breaks();
  }
  assert.deepEqual(shown, ["up", "down"]);
  pass(15_000);
  at().opens();
  assert.deepEqual(shown, ["up", "down", "up"]);
});

test("no network is another word than no dashboard, and the words follow", () => {
  begin();
  network.onLine = false;
  on("offline");
  assert.deepEqual(shown, ["up"], "not at once");
  pass(1_500);
  assert.deepEqual(shown, ["up", "off"]);
  at().breaks();
  network.onLine = true;
  on("online");
  at().breaks();
  assert.deepEqual(shown, ["up", "off", "down"]);
});

test("a network that went and came under a socket that lives is up again with its first frame", () => {
  begin();
  network.onLine = false;
  on("offline");
  pass(2_000);
  network.onLine = true;
  on("online");
  assert.equal(at().sent.at(-1).type, "resume");
  at().says("deltas", 7, { deltas: [] });
  assert.deepEqual(shown, ["up", "off", "up"]);
  assert.equal(sockets.length, 1);
});

test("a socket that says nothing after the tab woke up is replaced within a second", () => {
  begin();
  on("visibilitychange");
  pass(999);
  assert.equal(sockets.length, 1);
  pass(1);
  assert.equal(sockets.length, 2);
});

test("a tab in the background asks for nothing", () => {
  begin();
  document.hidden = true;
  on("visibilitychange");
  pass(5_000);
  assert.equal(sockets.length, 1);
  assert.deepEqual(at().sent, []);
});

test("a connection that went into the void is given up when the network returns", () => {
  begin();
  at().breaks();
  pass(400);
  assert.equal(at().readyState, 0, "it tries");
  const tried = sockets.length;
  pass(3_000);
  on("online");
  assert.equal(sockets.length, tried + 1);
});

test("and after fifteen seconds in any case", () => {
  begin();
  at().breaks();
  pass(400);
  const tried = sockets.length;
  pass(20_000);
  assert.equal(sockets.length, tried + 1);
});

test("a socket that is silent for 75 s is dead", () => {
  begin();
  pass(70_000);
  assert.equal(sockets.length, 1);
  pass(15_000);
  assert.equal(sockets.length, 2);
});

test("a state that was asked for may take minutes on a slow network", () => {
  begin();
  at().says("delta", 9, { fragments: [] });
  assert.equal(at().sent.at(-1).type, "resume");
  pass(300_000);
  assert.equal(sockets.length, 1);
  at().says("full_state", 20, { fragments: [{ id: "a", place: "morph", html: "" }] });
  pass(32);
  assert.equal(taken.length, 1);
  pass(85_000);
  assert.equal(sockets.length, 2, "then it is as before");
});

test("so may the first frame of a socket", () => {
  begin();
  at().breaks();
  pass(400);
  at().opens();
  const open = sockets.length;
  pass(300_000);
  assert.equal(sockets.length, open);
  pass(310_000);
  assert.equal(sockets.length, open + 1, "and not for ever");
});

test("waking up in the middle of it does not begin it again", () => {
  begin();
  at().says("delta", 9, { fragments: [] });
  on("visibilitychange");
  pass(3_000);
  assert.equal(sockets.length, 1);
});

test("tries are spread, and none waits longer than ten seconds", () => {
  begin();
  const waits = [];
  for (let n = 0; n < 30; n += 1) {
    const before = Date.now();
    const count = sockets.length;
    at().breaks();
    while (sockets.length === count) pass(10);
    waits.push(Date.now() - before);
  }
  assert.ok(Math.max(...waits) <= 10_200, String(waits));
  assert.ok(new Set(waits).size > 10, String(waits));
});

test("Try now tries now", () => {
  begin();
  at().breaks();
  const tried = sockets.length;
  on("click");
  assert.equal(sockets.length, tried + 1);
});
