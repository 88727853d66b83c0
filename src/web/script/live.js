// The socket: keeps one open, asks for what is missing, and says how it stands.
import { coalesce, delay, gate } from "./gate.js";

const CRY = 1_500; // ms down until anyone is told
const DEAF = 75_000; // ms without a frame until the socket counts as dead; the server speaks every 30 s
const ANSWER = 1_000; // ms that a woken socket has to answer
const MANY = 5_000; // fragments that wait (in a tab in the background); more than that is asked for anew

// own: {epoch, version}; page: its kind; take(fragments); log(payload); show(state); out(): ask for the password.
export function live({ own, page, take, log, show, out }) {
  const follows = new Map();
  let socket, timer, cry, probe, asked, drawn;
  let attempt = 0;
  let heard = 0;
  let waiting = [];
  let signedOut = false;

  const url = () =>
    `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?view=html` +
    `&page=${encodeURIComponent(page)}&epoch=${own.epoch}&version=${own.version}`;
  const ready = () => socket?.readyState === WebSocket.OPEN;
  const send = (type, payload) => ready() && socket.send(JSON.stringify({ type, payload }));

  function ask(what) {
    if (asked) return;
    asked = setTimeout(() => (asked = 0), 5_000);
    send(what, what === "resume" ? own : undefined);
  }

  function draw() {
    clearTimeout(drawn);
    drawn = 0;
    const now = coalesce(waiting);
    waiting = [];
    if (now.length) take(now);
  }

  function message(text) {
    heard = Date.now();
    clearTimeout(probe);
    const frame = JSON.parse(text);
    if (frame.type === "log") return log(frame.payload);
    const step = gate(own, frame);
    own = step.own;
    if (frame.type !== "sync" && frame.type !== "delta") asked = clearTimeout(asked);
    if (step.ask) ask(step.ask);
    if (frame.type === "full_state" || frame.type === "init") waiting = [];
    for (const fragment of step.fragments) waiting.push(fragment);
    if (waiting.length > 500) waiting = coalesce(waiting);
    if (waiting.length > MANY) {
      waiting = [];
      ask("get_state");
    }
    if (waiting.length && !drawn) {
      // A hidden tab gets no frames to draw in.
      drawn = setTimeout(draw, document.hidden ? 200 : 32);
    }
  }

  function open() {
    clearTimeout(timer);
    if (signedOut || (socket && socket.readyState < WebSocket.CLOSING)) return;
    const mine = (socket = new WebSocket(url()));
    let opened = false;
    mine.onopen = () => {
      opened = true;
      attempt = 0;
      heard = Date.now();
      asked = clearTimeout(asked);
      cry = clearTimeout(cry);
      show("up");
      for (const [command_id, from] of follows) send("follow_log", { command_id, ...from() });
    };
    mine.onmessage = (event) => mine === socket && message(event.data);
    mine.onclose = (event) => mine === socket && closed(event.code, opened);
  }

  async function closed(code, opened) {
    cry ??= setTimeout(() => !signedOut && show(navigator.onLine ? "down" : "off"), CRY);
    if (code === 4001) return ended();
    timer = setTimeout(open, delay(attempt++));
    // A refused handshake does not say why: ask by the front door.
    if (opened) return;
    const answer = await fetch("/api/v1/remote", { redirect: "manual" }).catch(() => null);
    if (answer?.status === 401 || answer?.type === "opaqueredirect") ended();
  }

  function ended() {
    if (signedOut) return;
    signedOut = true;
    clearTimeout(timer);
    show("out");
    out();
  }

  function again() {
    const dead = socket;
    socket = null;
    dead?.close();
    attempt = 0;
    open();
  }

  // The tab wakes up, the network returns: be right at once, or find out that the socket is dead.
  function wake() {
    if (document.hidden || signedOut || socket?.readyState === WebSocket.CONNECTING) return;
    if (!ready()) return again();
    asked = clearTimeout(asked);
    ask("resume");
    clearTimeout(probe);
    probe = setTimeout(again, ANSWER);
  }

  addEventListener("online", wake);
  addEventListener("pageshow", wake);
  addEventListener("offline", () => show("off"));
  document.addEventListener("visibilitychange", wake);
  setInterval(() => ready() && Date.now() - heard > DEAF && again(), 10_000);
  open();

  return {
    // Lines of this log from `from()` ({offset, last}) on, also after a reconnect.
    follow(id, from) {
      follows.set(id, from);
      send("follow_log", { command_id: id, ...from() });
    },
    unfollow(id) {
      if (follows.delete(id)) send("unfollow_log", { command_id: id });
    },
    // A log that is over needs no following after a reconnect.
    done: (id) => follows.delete(id),
    signedIn() {
      signedOut = false;
      again();
    },
  };
}
