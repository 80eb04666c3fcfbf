// Writes a Brotli variant next to each built file that gets smaller by it; the collector serves it to whoever accepts it.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";

/** Smaller files fit into one packet anyway. */
const MIN_BYTES = 1_400;
const TEXT = /\.(html|js|css|json|svg|txt|webmanifest)$/;

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const file = join(entry.parentPath, entry.name);
  if (!entry.isFile() || !TEXT.test(entry.name)) continue;
  const plain = readFileSync(file);
  if (plain.length < MIN_BYTES) continue;
  const packed = brotliCompressSync(plain, {
    params: { [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
  });
  if (packed.length < plain.length) writeFileSync(`${file}.br`, packed);
}
