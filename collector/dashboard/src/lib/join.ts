/**
 * What to run on a machine that shall become an agent. The join string is a secret, so it goes through standard input: on a
 * command line it would stand in the process list and in the shell's history.
 */
export function joinCommands(joinString: string): { installed: string; byHand: string } {
  return {
    installed: `sudo install -m 600 /dev/stdin /etc/firstmile/join ${hereDocument(joinString)}`,
    byHand: `firstmile-agent enroll - ${hereDocument(joinString)}`,
  };
}

/** A join string has no line breaks, so it cannot end the document early. */
function hereDocument(text: string): string {
  return `<<'END'\n${text.replaceAll(/\s/g, "")}\nEND`;
}
