// Bundles a component of React, Vue or Svelte, as an app's bundler does:
// node hooks.mjs DIRECTORY ENTRY
import { build } from "esbuild";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile } from "svelte/compiler";
import { compileScript, parse } from "vue/compiler-sfc";

const [directory, entry] = process.argv.slice(2);

/** Compiles the files of one frontend, as its plugin for bundlers does. */
const files = (filter, loader, compiled) => ({
  name: loader,
  setup: ({ onLoad }) =>
    onLoad({ filter }, async ({ path }) => {
      const contents = compiled(await readFile(path, "utf8"), path);
      return { contents, loader, resolveDir: dirname(path) };
    }),
});

await build({
  absWorkingDir: directory,
  bundle: true,
  entryPoints: [entry],
  outfile: join(directory, "bundle.js"),
  format: "esm",
  jsx: "automatic",
  // React mounts twice under StrictMode in this one alone.
  define: {
    "process.env.NODE_ENV": '"development"',
    __VUE_OPTIONS_API__: "true",
    __VUE_PROD_DEVTOOLS__: "false",
    __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false",
  },
  nodePaths: [join(dirname(fileURLToPath(import.meta.url)), "node_modules")],
  logLevel: "error",
  plugins: [
    files(/\.vue$/, "ts", (source, path) => {
      const { descriptor } = parse(source, { filename: path });
      return compileScript(descriptor, { id: "test", inlineTemplate: true }).content;
    }),
    files(/\.svelte$/, "js", (source, filename) =>
      compile(source, { filename, generate: "client" }).js.code),
  ],
});
