/** For pages that have no modules: what a module exports is `FlaskPush`'s. */
export const classic = (text) => {
  const exported = [...text.matchAll(/^export (?:class|const) (\w+)/gm)].map(([, name]) => name);
  const inner = text
    .replace("import.meta.url", "HERE")
    .replace('{ type: "module", name: key }', "key")
    .replace(/^import (.*) from "\.\/\w+\.js";$/gm, "const $1 = FlaskPush;")
    .replace(/^export (class|const) |^export \{.*$/gm, "$1 ");
  return `var FlaskPush = { ...globalThis.FlaskPush, ...(() => {
    const HERE = globalThis.document?.currentScript.src || globalThis.location?.href;
    ${inner}
    return { ${exported.join(", ")} };
  })() };`;
};
