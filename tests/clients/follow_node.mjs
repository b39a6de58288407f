// Writes what follow.js gets in Node, which has no EventSource: node follow_node.mjs URL.
import { follow } from "../../src/flask_push/static/follow.js";

const run = follow(process.argv[2], (text) => console.log(text), { parse: "text" });
console.log((await run.ended).status);
