// Prints every example body of GitHub's webhooks, one a line: {"type", "payload"}, the payload as text.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const path = require.resolve("@octokit/webhooks-examples/api.github.com/index.json");
for (const { name, examples } of JSON.parse(readFileSync(path, "utf8"))) {
  for (const example of examples) {
    process.stdout.write(JSON.stringify({ type: name, payload: JSON.stringify(example, null, 2) }) + "\n");
  }
}
