// Makes modules for a browser of packages that are installed: node bundle.mjs DIRECTORY NAME...
// They share what several of them need, so there is one React. Each has the exports of its
// package, also where that is an old one whose exports are only known when it runs.

import { build } from "esbuild";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const [directory, ...names] = process.argv.slice(2);
const here = import.meta.dirname;
const sources = join(directory, "sources");
await mkdir(sources, { recursive: true });
const entries = {};
for (const name of names) {
  const exported = Object.keys(await import(name)).filter((key) => /^\w+$/.test(key) && key !== "default");
  const file = name.replaceAll(/\W/g, "-");
  entries[file] = join(sources, `${file}.mjs`);
  const lines = exported.map((key) => `export const ${key} = all.${key};`);
  await writeFile(entries[file], `import * as all from "${name}";\n${lines.join("\n")}\n`);
}
await build({
  entryPoints: entries,
  outdir: directory,
  outExtension: { ".js": ".mjs" },
  nodePaths: [join(here, "node_modules")],
  bundle: true,
  splitting: true,
  minify: true,
  format: "esm",
  platform: "browser",
  conditions: ["browser"],
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "error",
});
// What is shared has one address, wherever the module is that imports it.
for (const file of await readdir(directory)) {
  if (!file.endsWith(".mjs")) continue;
  const text = await readFile(join(directory, file), "utf8");
  await writeFile(join(directory, file), text.replaceAll('"./chunk-', '"/chunk-'));
}
