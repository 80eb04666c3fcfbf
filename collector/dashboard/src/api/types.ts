/** Short names for the types that `npm run codegen` makes of the API's OpenAPI document. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Agent = Schemas["Agent"];
export type AgentTarget = Schemas["AgentTarget"];
export type ApiError = Schemas["ApiError"];
export type ChangeWindow = Schemas["ChangeWindow"];
export type EventClass = Schemas["EventClass"];
export type EventPath = Schemas["EventPath"];
export type EventPaths = Schemas["EventPaths"];
export type Figures = Schemas["Figures"];
export type GeographyLevel = Schemas["GeographyLevel"];
export type GeographyReport = Schemas["GeographyReport"];
export type GeographyRow = Schemas["GeographyRow"];
export type IncidentMarks = Schemas["IncidentMarks"];
export type Incident = Schemas["Incident"];
export type IncidentReport = Schemas["IncidentReport"];
export type JoinStringRequest = Schemas["JoinStringRequest"];
export type JoinStringResponse = Schemas["JoinStringResponse"];
export type LatencyPoint = Schemas["LatencyPoint"];
export type LatencyReport = Schemas["LatencyReport"];
export type EngineCounters = Schemas["EngineCounters"];
export type Handshake = Schemas["Handshake"];
export type HostState = Schemas["HostState"];
export type Live = Schemas["Live"];
export type Machine = Schemas["Machine"];
export type MachineChange = Schemas["MachineChange"];
/** The API's `Event`, by a name that does not shadow the browser's. */
export type PathEvent = Schemas["Event"];
export type PathHop = Schemas["PathHop"];
export type PathIdentity = Schemas["PathIdentity"];
export type PathNode = Schemas["PathNode"];
export type PathReport = Schemas["PathReport"];
export type PathSpan = Schemas["PathSpan"];
export type Pop = Schemas["Pop"];
export type ProtocolState = Schemas["ProtocolState"];
export type RegisteredPrefix = Schemas["RegisteredPrefix"];
export type RouteStatistics = Schemas["RouteStatistics"];
export type RoutingFeed = Schemas["RoutingFeed"];
export type RoutingVerdict = Schemas["RoutingVerdict"];
export type RttCost = Schemas["RttCost"];
export type Site = Schemas["Site"];
export type SitePatch = Schemas["SitePatch"];
export type Status = Schemas["Status"];
export type Window = Schemas["Window"];
export type WindowWish = Schemas["WindowWish"];
