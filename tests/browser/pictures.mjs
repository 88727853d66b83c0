// The pictures of the documentation, of the pages as the daemon renders them over a made-up fleet:
//
//   just pictures
//
// The pages come from the tests of the daemon (src/web/pages/preview.rs); this serves them, and takes pictures in both
// themes into docs/images. `-- all`: every page, in every width, into artefacts/preview.
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from '@playwright/test';
import { drawn, setTheme, settled, WIDTHS } from './look.mjs';

const [from, what] = process.argv.slice(2);
const TYPES = { '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  try {
    const body = readFileSync(join(from, extname(path) ? path : `${path}.html`));
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'text/html; charset=utf-8' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});

/** Takes a page as it is when its link is up. `of`: only this part; `first`: what is done before. */
async function take({ name, page: path, theme, size: [width, height], into, of, first, fullPage = true }) {
  const page = await browser.newPage({ viewport: { width, height } });
  // As old as it was when it was made, and with a socket that is simply quiet.
  await page.clock.setFixedTime(statSync(join(from, `${path}.html`)).mtimeMs);
  await page.addInitScript(() => { window.WebSocket = class extends EventTarget { send() {} close() {} }; });
  await page.goto(`http://127.0.0.1:${server.address().port}/${path}`);
  await setTheme(page, theme);
  await drawn(page);
  if (first) await page.locator(first).click();
  await page.mouse.move(0, 0);
  await settled(page);
  await page.evaluate(() => { document.documentElement.dataset.link = 'up'; });
  const options = { path: join(into, `${name}.png`), animations: 'disabled' };
  if (of) await page.locator(of).screenshot(options);
  else await page.screenshot({ ...options, fullPage });
  await page.close();
}

if (what === 'all') {
  const into = fileURLToPath(new URL('artefacts/preview/', import.meta.url));
  mkdirSync(into, { recursive: true });
  const pages = readdirSync(from).filter((file) => file.endsWith('.html')).map((file) => file.slice(0, -5));
  for (const page of pages) {
    for (const theme of ['light', 'dark']) {
      for (const size of WIDTHS) await take({ name: `${page}-${theme}-${size[0]}`, page, theme, size, into });
    }
  }
} else {
  const into = fileURLToPath(new URL('../../docs/images/', import.meta.url));
  for (const theme of ['light', 'dark']) {
    const size = [1440, 900];
    await take({ name: `fleet-${theme}`, page: 'story', theme, size, into });
    await take({ name: `roll-out-${theme}`, page: 'story', theme, size, into, of: '#all-runs', first: '.run-more > summary' });
    await take({ name: `host-${theme}`, page: 'story-host', theme, size: [1440, 1100], into, fullPage: false });
    await take({ name: theme === 'light' ? 'run-halted' : 'run-halted-dark', page: 'run-halted', theme, size, into, of: '#run-head' });
  }
}
await browser.close();
server.close();
