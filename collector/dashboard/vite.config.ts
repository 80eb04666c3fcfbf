import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // The page's content security policy allows no `data:` scripts; small files stay files.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 800,
  },
  // `npm run dev` talks to a collector on its default address.
  server: { proxy: { "/api": "http://127.0.0.1:8080" } },
});
