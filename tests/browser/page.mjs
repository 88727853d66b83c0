// Makes the page's script and stylesheet, as they are served, of their sources: src/web/script and src/web/style into
// src/web/static. What it makes is in the repository, so that building NixFleet needs no Node.
//
//   npm run page              makes them
//   npm run page -- --check   says whether they are what the sources make, and ends with 1 when they are not
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const web = fileURLToPath(new URL("../../src/web/", import.meta.url));
const { outputFiles } = await build({
  absWorkingDir: web,
  entryPoints: ["script/app.js", "script/theme.js", "style/app.css"],
  entryNames: "[name]",
  outdir: "static",
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "esm",
  target: ["chrome123", "firefox121", "safari17.5"],
  external: ["*.woff2"],
  logLevel: "warning",
  write: false,
});

async function smaller(script) {
  const options = { module: true, ecma: 2022, mangle: true, compress: { passes: 3, unsafe_arrows: true } };
  const { code } = await minify(script, options);
  return Buffer.from(code);
}

const old = (path) => {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    return null;
  }
};
for (const { path, contents: bundled, text } of outputFiles) {
  // terser makes the script a twentieth smaller than esbuild alone.
  const contents = path.endsWith(".js") ? await smaller(text) : bundled;
  if (old(path)?.equals(contents)) continue;
  if (process.argv.includes("--check")) {
    console.error(`${path.replace(web, "src/web/")} is not what its sources make: npm run page, in tests/browser`);
    process.exitCode = 1;
  } else {
    writeFileSync(path, contents);
    console.log(`${path.replace(web, "src/web/")}: ${contents.length} bytes`);
  }
}
