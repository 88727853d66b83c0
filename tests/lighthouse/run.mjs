// Lighthouse over the pages of a demo, as a phone and as a desktop: four figures for each, and an end with 1 when one is
// below 95. `just lighthouse` installs it and calls this.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { mkdirSync, writeFileSync } from 'node:fs';
import { launch } from 'chrome-launcher';
import lighthouse, { desktopConfig } from 'lighthouse';

const LEAST = 95;
const CATEGORIES = ['performance', 'accessibility', 'best-practices', 'seo'];
// A page behind a password wants no search engine: it says noindex, and this check would have it say the opposite.
const SKIPPED = ['is-crawlable'];

const binary = process.env.NIXFLEET_BIN ?? fileURLToPath(new URL('../../target/release/nixfleet', import.meta.url));
const demo = spawn(binary, ['demo', '--json', '--hosts', '5'], { stdio: ['ignore', 'pipe', 'inherit'] });
const chrome = await launch({
  chromePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  chromeFlags: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
});
let failed = false;
try {
  const { url, password, admin_token: token, hosts } = JSON.parse(await new Promise((resolve, reject) => {
    createInterface({ input: demo.stdout }).once('line', resolve);
    demo.once('exit', (code) => reject(new Error(`the demo ended with ${code}`)));
  }));
  const cookie = await logIn(url, password);
  const { commands } = await (await fetch(`${url}/api/v1/commands`, { headers: { authorization: `Bearer ${token}` } })).json();
  const pages = {
    fleet: '/', host: `/hosts/${hosts[0]}`, events: '/events', command: `/commands/${commands[0].id}`, login: '/login',
  };
  mkdirSync('reports', { recursive: true });
  console.log(`page      as       ${CATEGORIES.join('  ')}`);
  for (const [name, path] of Object.entries(pages)) {
    for (const as of ['mobile', 'desktop']) {
      const config = as === 'desktop' ? desktopConfig : undefined;
      const { lhr, report } = await lighthouse(url + path, {
        port: chrome.port,
        output: 'html',
        logLevel: 'error',
        skipAudits: SKIPPED,
        disableStorageReset: true,
        extraHeaders: name === 'login' ? {} : { Cookie: cookie },
      }, config);
      writeFileSync(`reports/${name}-${as}.html`, report);
      const scores = CATEGORIES.map((category) => Math.round((lhr.categories[category]?.score ?? 0) * 100));
      console.log(`${name.padEnd(9)} ${as.padEnd(8)} ${scores.map((score, n) => String(score).padEnd(CATEGORIES[n].length)).join('  ')}`);
      if (scores.every((score) => score >= LEAST)) continue;
      failed = true;
      for (const category of CATEGORIES) {
        for (const { id, weight } of lhr.categories[category]?.auditRefs ?? []) {
          const { score, title, displayValue = '' } = lhr.audits[id];
          if (weight > 0 && score !== null && score < 0.9) console.log(`    ${category}: ${title} ${displayValue}`);
        }
      }
    }
  }
} finally {
  chrome.kill();
  demo.kill('SIGINT');
}
process.exitCode = failed ? 1 : 0;

/** The session's cookie, as the form gives it. */
async function logIn(url, password) {
  const form = await fetch(`${url}/login`);
  const token = /name="csrf_token" value="([^"]+)"/.exec(await form.text())[1];
  const before = form.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ');
  const answer = await fetch(`${url}/login`, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie: before, origin: url },
    body: new URLSearchParams({ csrf_token: token, password }),
  });
  return answer.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).find((cookie) => cookie.startsWith('nixfleet_session'));
}
