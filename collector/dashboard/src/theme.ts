import { createTheme } from "@mantine/core";

/** 14 px base, one accent, system fonts: nothing is fetched. */
export const theme = createTheme({
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace',
  colors: {
    dark: ["#e4e8ed", "#c3cad3", "#9ca7b4", "#7b8794", "#4b5663", "#343c46", "#1f242b", "#171b20", "#12161a", "#0c0f12"],
  },
  primaryColor: "blue",
  primaryShade: { light: 8, dark: 8 },
  defaultRadius: "sm",
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.125rem" },
  headings: {
    fontWeight: "600",
    sizes: { h1: { fontSize: "1.25rem", lineHeight: "1.35" }, h2: { fontSize: "1rem", lineHeight: "1.4" }, h3: { fontSize: "0.875rem", lineHeight: "1.4" } },
  },
  components: {
    Button: { defaultProps: { size: "xs" } },
    Select: { defaultProps: { size: "xs" } },
    TextInput: { defaultProps: { size: "xs" } },
    NumberInput: { defaultProps: { size: "xs" } },
    SegmentedControl: { defaultProps: { size: "xs" } },
    Tooltip: { defaultProps: { openDelay: 200, withinPortal: true, multiline: true } },
  },
});
