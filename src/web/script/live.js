// The socket: keeps one open, asks for what is missing, and says how it stands.
import { coalesce, delay, gate } from "./gate.js";

const CRY = 1_500; // ms down until anyone is told
const DEAF = 75_000; // ms without a frame until the socket counts as dead; the server speaks every 30 s
const PATIENT = 600_000; // the same while a whole state is awaited: a slow network brings it in one long frame
const ANSWER = 1_000; // ms that a woken socket has to answer
const CONNECT = 15_000; // ms that a connection may take: one that went into the void is given up

// own: {epoch, version}; page: its kind; take(fragments); log(payload); show(state, since); out(): ask for the password.
export function live({ own, page, take, log, show, out }) {
  const follows = new Map();
  let socket, timer, cry, probe, asked, owed, drawn, since;
  let attempt = 0;
  let heard = 0;
  let begun = 0;
  let waiting = [];
  let room = 0; // in a tab in the background they wait long
  let signedOut = false;

  const url = () =>
    `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?view=html` +
    `&page=${encodeURIComponent(page)}&epoch=${own.epoch}&version=${own.version}`;
  const ready = () => socket?.readyState === WebSocket.OPEN;
  const send = (type, payload) => ready() && socket.send(JSON.stringify({ type, payload }));

  function ask(what) {
    if (asked) return;
    asked = setTimeout(() => (asked = 0), 5_000);
    owed = true;
    send(what, what === "resume" ? own : undefined);
  }

  function draw() {
    clearTimeout(drawn);
    drawn = 0;
    const now = coalesce(waiting);
    waiting = [];
    if (now.length) take(now);
  }

  // Nobody is told of what is over in a moment; `since`, what is shown is no longer sure.
  function down(at = Date.now()) {
    since ??= at;
    if (cry === 0) tell();
    else cry ??= setTimeout(tell, CRY);
  }
  function tell() {
    cry = 0;
    if (!signedOut) show(navigator.onLine ? "down" : "off", since);
  }
  function up() {
    heard = Date.now();
    cry = since = clearTimeout(cry);
    show("up");
  }

  function message(text) {
    up();
    probe = clearTimeout(probe);
    const frame = JSON.parse(text);
    if (frame.type === "log") return log(frame.payload);
    const step = gate(own, frame);
    own = step.own;
    if (frame.type !== "sync" && frame.type !== "delta") asked = owed = clearTimeout(asked);
    if (step.ask) ask(step.ask);
    if (frame.type === "full_state" || frame.type === "init") waiting = [];
    for (const fragment of step.fragments) waiting.push(fragment);
    if (waiting.length > room) {
      waiting = coalesce(waiting);
      room = 2 * waiting.length + 500;
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
    begun = Date.now();
    mine.onopen = () => {
      opened = owed = true;
      attempt = 0;
      asked = clearTimeout(asked);
      up();
      for (const [command_id, from] of follows) send("follow_log", { command_id, ...from() });
    };
    mine.onmessage = (event) => mine === socket && message(event.data);
    mine.onclose = (event) => mine === socket && closed(event.code, opened);
  }

  async function closed(code, opened) {
    down();
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
    probe = clearTimeout(probe);
    dead?.close();
    attempt = 0;
    down(heard || undefined);
    open();
  }

  // The tab wakes up, the network returns: be right at once, or find out that the socket is dead.
  function wake() {
    if (document.hidden || signedOut) return;
    // One that began to connect a moment ago is as new as another.
    if (!ready()) return (socket?.readyState || begun + ANSWER < Date.now()) && again();
    probe ??= setTimeout(again, owed ? CONNECT : ANSWER);
    asked = clearTimeout(asked);
    ask("resume");
  }

  function watch() {
    const patience = ready() ? (owed ? PATIENT : DEAF) : CONNECT;
    if (socket?.readyState < WebSocket.CLOSING && Date.now() - Math.max(heard, begun) > patience) again();
  }

  addEventListener("online", wake);
  addEventListener("pageshow", wake);
  addEventListener("offline", () => down());
  document.addEventListener("visibilitychange", wake);
  document.getElementById("link-now")?.addEventListener("click", again);
  setInterval(watch, 5_000);
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
    signedIn() {
      signedOut = false;
      again();
    },
  };
}
