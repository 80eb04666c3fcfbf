// A gate before the collector: shut, every connection through it dies, as when the collector does.
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";

export class Gate {
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  constructor(readonly collector: URL) {}

  /** Address to browse to; it stays the same when the gate opens again. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async open(): Promise<void> {
    const server = createServer((inward) => {
      const outward = connect(Number(this.collector.port || 80), this.collector.hostname);
      for (const socket of [inward, outward]) {
        this.#sockets.add(socket);
        socket.on("close", () => {
          this.#sockets.delete(socket);
          inward.destroy();
          outward.destroy();
        });
        // A cut connection is what the gate is for; `close` follows.
        socket.on("error", () => undefined);
      }
      inward.pipe(outward).pipe(inward);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async shut(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
