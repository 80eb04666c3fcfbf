/** What to run on a machine that shall become an agent. */
export function joinCommands(joinString: string): { linux: string; windows: string } {
  return {
    linux: `firstmile-agent enroll ${shellQuote(joinString)} && systemctl enable --now firstmile-agent`,
    windows: `& "$env:ProgramFiles\\firstmile\\firstmile-agent.exe" enroll ${powerShellQuote(joinString)}; if ($?) { Restart-Service firstmile-agent }`,
  };
}

function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function powerShellQuote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
