#!/usr/bin/env node
// Starts the program of the package for this machine, and ends as it ends.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const name = `grapevine-mesh-${process.platform}-${process.arch}`;

function program() {
  try {
    return require.resolve(`${name}/bin/grapevine`);
  } catch {
    console.error(
      `grapevine: the package ${name} is not installed; there is one for linux-x64 and one for linux-arm64, which npm ` +
        "installs by itself unless optional dependencies are omitted",
    );
    process.exit(1);
  }
}

const child = spawn(program(), process.argv.slice(2), { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  // A terminal sends SIGINT to both: the program decides when to end.
  process.on(signal, () => {
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  });
}
child.on("error", (error) => {
  console.error(`grapevine: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
