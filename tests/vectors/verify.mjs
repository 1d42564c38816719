// Checks inclusion proofs of our log with code that is not ours: npm's @sigstore/verify, which `npm audit signatures`
// and sigstore's clients use. It takes the folder of node_modules and a JSON file of cases, and prints a verdict a case.
//
// Guarantees, for a case it calls "ok": the key given signed the checkpoint, under the name given; and the entry's bytes
// are at the index given under the checkpoint's root. Looks at one entry at a time: not at the whole tree.
import { createRequire } from "node:module";
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";

const [modules, file] = process.argv.slice(2);
const require = createRequire(path.join(modules, "anchor.js"));
const { verifyTLogInclusion } = require("@sigstore/verify/dist/tlog");
const { VerificationError } = require("@sigstore/verify");
const { TransparencyLogEntry } = require("@sigstore/protobuf-specs");

// authority describes a log that is trusted: its id (which begins with the key's id), its key and its name.
function authority({ logId, publicKey, name }) {
  return {
    logID: Buffer.from(logId, "base64"),
    publicKey: createPublicKey({ key: Buffer.from(publicKey, "base64"), format: "der", type: "spki" }),
    baseURL: name,
    validFor: { start: new Date(0), end: new Date(8.64e15) },
  };
}

// entryOf builds what a sigstore bundle would carry for one entry.
function entryOf({ logId, index, size, root, hashes, checkpoint, entry }) {
  return TransparencyLogEntry.fromJSON({
    logIndex: String(index),
    logId: { keyId: logId },
    kindVersion: { kind: "leaf", version: "1" },
    integratedTime: "0",
    inclusionProof: {
      logIndex: String(index),
      treeSize: String(size),
      rootHash: root,
      hashes,
      checkpoint: { envelope: checkpoint },
    },
    canonicalizedBody: entry,
  });
}

function verdict(one) {
  try {
    verifyTLogInclusion(entryOf(one), [authority(one.trusted)]);
    return "ok";
  } catch (error) {
    if (error instanceof VerificationError) return `refused: ${error.message}`;
    throw error;
  }
}

for (const one of JSON.parse(readFileSync(file, "utf-8"))) {
  console.log(verdict(one));
}
