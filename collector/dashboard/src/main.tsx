import "./styles";

import { MantineProvider } from "@mantine/core";
import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { CallFailure } from "./api/client";
import { statusQuery } from "./api/queries";
import { readPagesAhead, router } from "./router";
import { theme } from "./theme";

const client = new QueryClient({
  queryCache: new QueryCache({
    // Any answer "log in first" brings up the login: the frame decides on the status query.
    onError: (error, query) => {
      if (error instanceof CallFailure && error.status === 401 && query.queryKey[0] !== "status") {
        void client.invalidateQueries({ queryKey: statusQuery.queryKey });
      }
    },
  }),
  defaultOptions: {
    // A failed call is shown at once with a button to try again; live polling tries again by itself.
    queries: { retry: false, staleTime: 5000, refetchOnWindowFocus: false, networkMode: "always" },
    mutations: { retry: false, networkMode: "always" },
  },
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no element #root");
createRoot(root).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
readPagesAhead();
