// A fleet whose updates come by pull request: a daemon and real agents over one bare repository, and before it the
// GitHub of the tests (tests/fake_github), which merges for real. The stories steer it by `POST /_/…`.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { binary, expect, lights, startCable, test as base } from './fleet.mjs';
import { startDaemon } from './played.mjs';

const TOKEN = 'ghp_the_token_of_the_stories_0123456789';
const SECRET = 'the secret of the webhook';

/** The hosts. The first two have the tag `canary`. */
export const HOSTS = ['atlas', 'luna', 'nova', 'orion'];
export const CANARIES = HOSTS.slice(0, 2);
export const REST = HOSTS.slice(2);

/** What a host's tests find in a bad update. */
const ANSWERS = `#!/bin/sh
echo "asking the service on $NIXFLEET_HOST"
if grep -q broken flake.lock; then echo "the service does not answer on port 443" >&2; exit 1; fi
echo "the service answers"
`;

function built(name) {
  const path = join(dirname(binary), name);
  if (!existsSync(path)) throw new Error(`${path} is missing: cargo build --workspace --all-targets`);
  return path;
}

/** A switch, which fails on one canary where the update says so. */
const SWITCH = `#!/bin/sh
if [ "$NIXFLEET_HOST" = luna ] && grep -q unswitchable flake.lock; then echo "cannot start caddy.service" >&2; exit 4; fi
echo "switching $NIXFLEET_HOST"
`;

/** The bare repository, with a first commit. */
function repository(dir) {
  const work = join(dir, 'operator');
  const git = (at, ...words) => execFileSync('git', [
    '-c', 'user.name=operator', '-c', 'user.email=operator@localhost', '-c', 'init.defaultBranch=main', ...words,
  ], { cwd: at, stdio: ['ignore', 'pipe', 'pipe'] });
  const write = (path, text, mode = 0o644) => {
    mkdirSync(dirname(join(work, path)), { recursive: true });
    writeFileSync(join(work, path), text);
    chmodSync(join(work, path), mode);
  };
  git(dir, 'init', '-q', '--bare', '-b', 'main', 'config.git');
  git(dir, 'clone', '-q', 'config.git', 'operator');
  git(work, 'checkout', '-q', '-B', 'main');
  write('flake.lock', '{"version": 7, "nodes": {}}\n');
  write('switch', SWITCH, 0o755);
  for (const host of HOSTS) write(`hosts/${host}/tests/10-answers.sh`, ANSWERS, 0o755);
  git(work, 'add', '-A');
  git(work, 'commit', '-q', '-m', 'first');
  git(work, 'push', '-q', 'origin', 'main');
  return join(dir, 'config.git');
}

/** The GitHub of the tests. → where it listens, and what people do there */
async function startGitHub(bare, port) {
  const hook = `http://127.0.0.1:${port}/webhook/github`;
  const words = [bare, '--repo', 'infra/fleet', '--token', TOKEN, '--webhook', hook, SECRET];
  const child = spawn(built('examples/fake-github'), words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`the fake GitHub ended with ${code}`)));
  });
  const { url } = JSON.parse(line);
  return {
    url, child,
    async does(verb, body = {}) {
      const answer = await fetch(`${url}/_/${verb}`, { method: 'POST', body: JSON.stringify(body) });
      if (!answer.ok) throw new Error(`${verb}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    },
  };
}

/** The agent of a host. */
async function startAgent(daemon, host, bare) {
  const made = await daemon.api('POST', '/api/v1/tokens', { kind: 'host', host, name: host });
  const state = join(daemon.dir, 'agents', host);
  mkdirSync(state, { recursive: true });
  const log = openSync(join(daemon.dir, `agent-${host}.log`), 'a');
  return spawn(built('nixfleet-agent'), [], {
    stdio: ['ignore', log, log],
    env: {
      PATH: process.env.PATH,
      HOME: state,
      NIXFLEET_URL: `ws://127.0.0.1:${daemon.port}/ws`,
      NIXFLEET_TOKEN: made.body.token,
      NIXFLEET_REPO_URL: bare,
      NIXFLEET_STATE_DIR: state,
      NIXFLEET_HOSTNAME: host,
      NIXFLEET_PLATFORM: 'script',
      NIXFLEET_INTERVAL: '1',
      NIXFLEET_LOCATION: host === 'orion' ? 'cloud' : 'home',
      NIXFLEET_DEVICE_TYPE: 'server',
      NIXFLEET_TAGS: CANARIES.includes(host) ? 'canary' : '',
    },
  });
}

/** How the run stands; waits for its end. */
async function over(daemon, id) {
  await expect.poll(async () => (await daemon.api('GET', `/api/v1/runs/${id}`)).body.finished_at, { timeout: 60_000 })
    .toBeTruthy();
  return (await daemon.api('GET', `/api/v1/runs/${id}`)).body;
}

export const test = base.extend({
  week: [async ({}, use) => {
    let bare, github;
    const daemon = await startDaemon(async ({ dir, port }) => {
      bare = repository(dir);
      github = await startGitHub(bare, port);
      return {
        // Each host has a token of its own.
        NIXFLEET_AGENT_TOKEN: undefined,
        NIXFLEET_GITHUB_REPO: 'infra/fleet',
        NIXFLEET_GITHUB_TOKEN: TOKEN,
        NIXFLEET_GITHUB_API_URL: github.url,
        NIXFLEET_GITHUB_WEBHOOK_SECRET: SECRET,
        // Whatever follows at once follows a webhook, a command or a pull.
        NIXFLEET_REMOTE_INTERVAL: '10m',
        NIXFLEET_AUTO_TEST: '0',
      };
    });
    const cable = await startCable(daemon.url);
    const agents = await Promise.all(HOSTS.map((host) => startAgent(daemon, host, bare)));
    const week = {
      ...daemon, github, pageUrl: cable.url,
      /** A pull request for the lock. → its number */
      update: async (branch, nodes) => (await github.does('open', {
        branch, title: 'flake.lock: Update', path: 'flake.lock',
        content: `${JSON.stringify({ version: 7, nodes: { [nodes]: {} } })}\n`,
      })).number,
      /** Every host is deployed and tested by this pipeline. */
      async deploy() {
        const { status, body } = await daemon.api('POST', '/api/v1/pipelines/do-all/runs', { hosts: HOSTS });
        expect(status, JSON.stringify(body)).toBe(202);
        expect((await over(daemon, body.id)).state).toBe('COMPLETE');
      },
    };
    // What was started ends, however far it came.
    try {
      await expect.poll(async () => (await daemon.api('GET', '/api/v1/hosts')).body.hosts
        .filter(({ state, generation }) => state === 'online' && generation).map(({ id }) => id), { timeout: 60_000 })
        .toEqual(HOSTS);
      await week.deploy();
      await use(week);
    } finally {
      for (const agent of agents) agent.kill('SIGKILL');
      github.child.kill('SIGKILL');
      cable.close();
      await daemon.end();
    }
  }, { scope: 'worker', timeout: 180_000 }],
  origin: async ({ week }, use) => { await use(week.pageUrl); },
});

/** Waits until these hosts show these lights in the tab. */
export async function show(page, looks, hosts = HOSTS) {
  for (const host of hosts) await expect.poll(() => lights(page, host), host).toBe(looks);
}
