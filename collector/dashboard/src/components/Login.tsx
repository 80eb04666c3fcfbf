import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";

/** Asked for beyond loopback only. */
export function Login() {
  const client = useQueryClient();
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const login = useMutation({
    mutationFn: () => send("POST", "/login", { user, password }),
    onSuccess: () => client.invalidateQueries(),
  });
  return (
    <main style={{ display: "grid", placeItems: "center", minHeight: "100vh", padding: 16 }}>
      <form
        className="fm-panel"
        style={{ width: "min(360px, 100%)", padding: 20, display: "grid", gap: 12 }}
        onSubmit={(submit) => {
          submit.preventDefault();
          login.mutate();
        }}
      >
        <h1>firstmile</h1>
        <TextInput label="User" autoComplete="username" required value={user} onChange={(change) => { setUser(change.currentTarget.value); }} />
        <PasswordInput size="xs" label="Password" autoComplete="current-password" required value={password} onChange={(change) => { setPassword(change.currentTarget.value); }} />
        {login.isError && (
          <p className="fm-loss" role="alert">
            {login.error.message}
          </p>
        )}
        <Button type="submit" loading={login.isPending}>
          Log in
        </Button>
      </form>
    </main>
  );
}
