/** One way to the collector: JSON over the page's own address, and errors that say what failed. */
import type { ApiError } from "./types";

const BASE = "/api/v1";
const TIMEOUT_MS = 15_000;

/** Why a call to the collector gave no answer that can be shown. */
export class CallFailure extends Error {
  constructor(
    /** What was asked, such as `GET /api/v1/status`. */
    readonly call: string,
    /** The API's constant word, `unreachable`, or `unreadable`. */
    readonly code: string,
    /** HTTP status; absent when no answer came at all. */
    readonly status: number | undefined,
    message: string,
  ) {
    super(message);
    this.name = "CallFailure";
  }
}

type Parameters = Readonly<Record<string, string | number | undefined>>;

/** Reads `path` with the parameters that are set. */
export async function get<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return call<T>("GET", text ? `${path}?${text}` : path, undefined, signal);
}

/** Sends `body` as JSON. */
export async function send<T>(method: "POST" | "PATCH" | "PUT" | "DELETE", path: string, body: unknown): Promise<T> {
  return call<T>(method, path, body, undefined);
}

async function call<T>(method: string, path: string, body: unknown, signal: AbortSignal | undefined): Promise<T> {
  const name = `${method} ${BASE}${path}`;
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(`${BASE}${path}`, {
      method,
      headers: body === undefined ? { accept: "application/json" } : { accept: "application/json", "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const why = deadline.aborted ? `did not answer within ${TIMEOUT_MS / 1000} s` : "does not answer";
    throw new CallFailure(name, "unreachable", undefined, `The collector ${why}. Is it running, and is this page's address still its own?`);
  }
  if (!response.ok) throw await refusal(name, response);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch {
    throw new CallFailure(name, "unreadable", response.status, "The collector's answer is not JSON. Do page and collector have the same version?");
  }
}

async function refusal(name: string, response: Response): Promise<CallFailure> {
  const fallback = `The collector answered with status ${response.status}.`;
  try {
    const error = (await response.json()) as Partial<ApiError>;
    return new CallFailure(name, error.code ?? "refused", response.status, error.message ?? fallback);
  } catch {
    return new CallFailure(name, "refused", response.status, fallback);
  }
}
