// Puts the address-to-country table (CC0) where the collector's build embeds it; the served files stay in dist/.
import { copyFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(
  new URL("../node_modules/@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb", import.meta.url),
);
const folder = fileURLToPath(new URL("../dist-data/", import.meta.url));
mkdirSync(folder, { recursive: true });
copyFileSync(source, `${folder}country.mmdb`);
