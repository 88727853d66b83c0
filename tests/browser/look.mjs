// How a page is looked at: screenshots in artefacts/, nothing wider than the window, and axe.
import AxeBuilder from '@axe-core/playwright';
import { expect } from './fleet.mjs';

export const WIDTHS = [[360, 780], [768, 1024], [1440, 900]];

export async function settled(page) {
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

/** All rows are drawn, also those far below the window. The policy of the page allows sheets that a script makes. */
export const drawn = (page) => page.evaluate(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('.hosts .host { content-visibility: visible !important }');
  document.adoptedStyleSheets = [sheet];
});

/** A picture of the whole page, or of the window where something covers it; nothing in it is half-way. */
export async function snap(page, name, fullPage = true) {
  if (fullPage) await drawn(page);
  await page.screenshot({ path: `artefacts/${name}.png`, fullPage, animations: 'disabled' });
}

export const setTheme = (page, theme) => page.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, theme);

export async function narrowEnough(page, what) {
  const wider = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll('dialog[open], :popover-open, .empty')]
    .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
    .map((it) => `${it.id || it.className || 'the page'}: ${it.scrollWidth} in ${it.clientWidth} px`));
  expect(wider, `${what} does not scroll sideways`).toEqual([]);
  // Each column of the table has its own track, and nothing stands over its neighbour.
  const torn = await page.evaluate(() => {
    const shown = (cell) => getComputedStyle(cell).display !== 'none';
    const rows = [...document.querySelectorAll('.hosts tr')].filter((row) => row.getClientRects().length).slice(0, 4);
    return rows.flatMap((row) => {
      const tracks = getComputedStyle(row).gridTemplateColumns.split(' ').length;
      const cells = [...row.children].filter(shown);
      const over = cells.filter((cell) => cell.matches('.c-lights, .c-do') && cell.scrollWidth > cell.clientWidth + 1);
      const odd = innerWidth > 740 && cells.length !== tracks ? [`${cells.length} cells in ${tracks} tracks`] : [];
      return [...odd, ...over.map((cell) => `${cell.className}: ${cell.scrollWidth} in ${cell.clientWidth} px`)];
    });
  });
  expect(torn, `${what}: the table's columns`).toEqual([]);
}

// Every rule in both themes and at both widths; what is seen is the same in the dark, so there one width is enough.
const AXE = { light: [360, 1440], dark: [1440] };

/** Whether axe looks at this theme and width. */
export const asked = (theme, width) => AXE[theme].includes(width);

/** Axe finds nothing: WCAG 2.2 AA, and its own good practice (landmarks, the order of headings). `within`: in there. */
export async function accessible(page, what, within) {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  const axe = new AxeBuilder({ page }).withTags(tags);
  const { violations } = await (within ? axe.include(within) : axe).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(', ')}`), what).toEqual([]);
}

/** Pictures alone, in both themes, of what axe has seen elsewhere. */
export async function snaps(page, name) {
  for (const theme of ['light', 'dark']) {
    await setTheme(page, theme);
    for (const [width, height] of WIDTHS) {
      await page.setViewportSize({ width, height });
      await settled(page);
      await snap(page, `${name}-${theme}-${width}`, false);
      await narrowEnough(page, `${name} at ${width} px`);
    }
  }
}

/** `window`: only what is in the window is in the picture. */
export async function look(page, name, theme, window = false) {
  await setTheme(page, theme);
  for (const [width, height] of WIDTHS) {
    await page.setViewportSize({ width, height });
    await settled(page);
    await snap(page, `${name}-${theme}-${width}`, !window);
    await narrowEnough(page, `${name} at ${width} px`);
    if (asked(theme, width)) await accessible(page, `${name}, ${theme}, ${width} px`);
  }
}
