// Makes what is served of what is read, in the directory that is named: modules, and the same
// as classic scripts.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { minify } from "terser";
import { classic } from "./classic.mjs";

const STATIC = new URL("../../src/flask_push/static/", import.meta.url);
const [, , target] = process.argv;
// Names that begin with an underscore are the same in all files.
const props = {};
const minified = async (text, module) => {
  const { code } = await minify(text, {
    module,
    ecma: 2022,
    compress: { lhs_constants: false, booleans_as_integers: true, unsafe: true },
    mangle: { properties: { regex: /^_/ } },
    nameCache: { props },
  });
  return code;
};

mkdirSync(target, { recursive: true });
const read = (name) => readFileSync(new URL(`${name}.js`, STATIC), "utf8");
for (const name of ["push", "extras", "items", "presence", "element", "juggernaut", "follow", "signed"]) {
  writeFileSync(`${target}/${name}.js`, await minified(read(name), true));
  writeFileSync(`${target}/${name}.classic.js`, await minified(classic(read(name)), false));
}
