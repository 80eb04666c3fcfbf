import js from "@eslint/js";
import reactHooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "dist-data/", "src/api/schema.ts"] },
  js.configs.recommended,
  {
    files: ["src/**/*.{ts,tsx}"],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    plugins: { "react-hooks": reactHooks },
    rules: {
      ...reactHooks.configs.recommended.rules,
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      // The router's types say what a thrown redirect is; the rule cannot see it.
      "@typescript-eslint/only-throw-error": "off",
    },
  },
  { files: ["scripts/**/*.mjs"], languageOptions: { globals: { URL: "readonly" } } },
  {
    // Charts get their data as props; only pages and components may fetch.
    files: ["src/charts/**", "src/lib/**"],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: [{ group: ["**/api/client", "**/api/queries", "@tanstack/react-query"], message: "charts and lib are pure" }] },
      ],
    },
  },
);
