// Makes what is served of what is read, in the directory that is named: modules, and the same
// as classic scripts.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { minify } from "terser";

const STATIC = new URL("../../src/flask_push/static/", import.meta.url);
const [, , target] = process.argv;
const minified = async (text, module) => {
  const { code } = await minify(text, {
    module,
    ecma: 2022,
    compress: { passes: 3, lhs_constants: false },
    // `_call` is known to both files.
    mangle: { properties: { regex: /^_/, reserved: ["_call"] } },
  });
  return code;
};

/** For pages that have no modules: what a module exports is `FlaskPush`'s. */
const classic = (text) => {
  const exported = [...text.matchAll(/^export (?:class|const) (\w+)/gm)].map(([, name]) => name);
  const inner = text
    .replace("import.meta.url", "(globalThis.document ? document.currentScript.src : location.href)")
    .replace(', { type: "module", name: "flask-push 1" }', ', "flask-push 1"')
    .replace(/^import (.*) from "\.\/push\.js";$/m, "const $1 = FlaskPush;")
    .replace(/^export (class|const) |^export \{.*$/gm, "$1 ");
  return `var FlaskPush = { ...globalThis.FlaskPush, ...(() => {
    ${inner}
    return { ${exported.join(", ")} };
  })() };`;
};

mkdirSync(target, { recursive: true });
for (const name of ["push", "extras"]) {
  const text = readFileSync(new URL(`${name}.js`, STATIC), "utf8");
  writeFileSync(`${target}/${name}.js`, await minified(text, true));
  writeFileSync(`${target}/${name}.classic.js`, await minified(classic(text), false));
}
