// A daemon of its own, and agents that are played: each is a socket that says what an agent says, as often as one
// likes. For stories where the daemon dies or a thousand changes come in a second.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { binary, expect, startCable, test as base } from './fleet.mjs';

const SHARED = 'played-agents-token-0123456789abcdef0123456789abcdef';
const ADMIN = 'played-admin-token-0123456789abcdef0123456789abcdef';
const PASSWORD = 'played password';

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The daemon: over one folder, on one port, however often it starts. `beside`: more of its settings, from its place. */
export async function startDaemon(beside = () => ({})) {
  const dir = mkdtempSync(join(tmpdir(), 'nixfleet-played-'));
  const port = await freePort();
  const hash = execFileSync(binary, ['hash-password'], { input: `${PASSWORD}\n` }).toString().trim();
  const env = {
    PATH: process.env.PATH,
    NIXFLEET_LISTEN: `127.0.0.1:${port}`,
    NIXFLEET_DATA_DIR: join(dir, 'data'),
    NIXFLEET_PASSWORD_HASH: hash,
    NIXFLEET_ADMIN_TOKEN: ADMIN,
    NIXFLEET_AGENT_TOKEN: SHARED,
    NIXFLEET_SYNC_BEACON_INTERVAL: '2s',
    NIXFLEET_LOG: 'warn',
    ...await beside({ dir, port }),
  };
  const log = openSync(join(dir, 'log'), 'a');
  const url = `http://127.0.0.1:${port}`;
  let child;
  const daemon = {
    url, dir, port, env, password: PASSWORD,
    async start() {
      child = spawn(binary, ['serve'], { env, stdio: ['ignore', log, log] });
      for (const until = Date.now() + 60_000; Date.now() < until;) {
        const ready = await fetch(`${url}/readyz`).catch(() => null);
        if (ready?.ok) return;
        if (child.exitCode !== null) break;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      throw new Error(`the daemon is not ready\n${readFileSync(join(dir, 'log'), 'utf8').slice(-4000)}`);
    },
    async stop(signal) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await ended;
    },
    admin: (...words) => execFileSync(binary, words, { env, stdio: ['ignore', 'pipe', 'pipe'] }).toString(),
    async api(method, path, body) {
      const answer = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${ADMIN}`, 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
      });
      return { status: answer.status, body: await answer.json().catch(() => null) };
    },
    async end() {
      if (child.exitCode === null && child.signalCode === null) await this.stop('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
  await daemon.start();
  return daemon;
}

/** A text frame of a client: masked, with zeros, which is allowed. */
function frame(text) {
  const payload = Buffer.from(text);
  const length = payload.length;
  const head = length < 126 ? Buffer.from([0x81, 0x80 | length]) : Buffer.from([0x81, 0xfe, length >> 8, length & 255]);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

/** An agent of the second protocol. It comes back by itself until it is ended. */
export function playAgent(daemon, number, { name = `host${String(number).padStart(2, '0')}` } = {}) {
  const kinds = ['server', 'desktop', 'laptop', 'gaming'];
  let socket, over = false, beats = 0, online = null;
  const agent = {
    name,
    register: {
      hostname: name, host_type: 'nixos', agent_version: '3.0.0', os_version: '26.11', nixpkgs_version: '26.11',
      generation: '1'.repeat(40), theme_color: '#d97706', heartbeat_interval: 3600, location: 'home',
      device_type: kinds[number % 4], repo_url: '', repo_dir: '',
    },
    say: (type, payload) => (socket?.writable && online ? socket.write(frame(JSON.stringify({ type, payload }))) : false),
    /** A heartbeat with other figures than the last one. */
    beat(more) {
      beats += 1;
      const metrics = { cpu: (beats * 7 + number) % 100, ram: (beats * 3 + number) % 100, swap: 0, load: beats / 100 };
      return agent.say('heartbeat', { generation: '1'.repeat(40), nixpkgs_version: '26.11', pending_command: null,
        command_pid: null, metrics, update_status: null, ...more });
    },
    end() { over = true; socket?.destroy(); },
    ready: null,
  };
  agent.ready = new Promise((ready) => {
    const live = () => {
      if (over) return;
      online = false;
      socket = connect(daemon.port, '127.0.0.1');
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => { online = false; setTimeout(live, 50); });
      socket.once('connect', () => socket.write([
        'GET /ws HTTP/1.1', `Host: 127.0.0.1:${daemon.port}`, 'Connection: Upgrade', 'Upgrade: websocket',
        'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
        `Authorization: Bearer ${SHARED}`, '', ''].join('\r\n')));
      let heard = '';
      socket.on('data', (bytes) => {
        heard = (heard + bytes.toString('latin1')).slice(-2000);
        if (!online && heard.includes('101 ')) {
          online = true;
          agent.say('register', agent.register);
        }
        if (heard.includes('"registered"')) { heard = ''; agent.beat(); ready(); }
      });
    };
    live();
  });
  // As good as an answer to each ping.
  setInterval(() => online && socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0])), 10_000).unref();
  return agent;
}

/** Heartbeats, so many in a second, spread over the agents. → how many were sent. */
export async function flood(agents, { perSecond, seconds }) {
  const begun = performance.now();
  let sent = 0;
  for (let past = 0; past < seconds * 1000; past = performance.now() - begun) {
    for (const due = (past / 1000) * perSecond; sent < due; sent += 1) agents[sent % agents.length].beat();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return sent;
}

/** Tests over a daemon with fifty hosts, which no test shares with the demo. */
export const test = base.extend({
  fleet: [async ({}, use) => {
    const daemon = await startDaemon();
    const cable = await startCable(daemon.url);
    const agents = Array.from({ length: 50 }, (_, number) => playAgent(daemon, number));
    await Promise.all(agents.map((agent) => agent.ready));
    await use({ ...daemon, cable, agents });
    for (const agent of agents) agent.end();
    cable.close();
    await daemon.end();
  }, { scope: 'worker', timeout: 120_000 }],
  origin: async ({ fleet }, use) => { await use(fleet.cable.url); },
});

/** The page says that its connection stands like this. */
export const link = (page, state, more) => expect(page.locator('html')).toHaveAttribute('data-link', state, more);

export async function logIn(page, fleet) {
  await page.goto(fleet.cable.url);
  await page.getByLabel('Password').fill(fleet.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.locator('table.hosts')).toBeVisible();
  await link(page, 'up');
}
