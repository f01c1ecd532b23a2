import type { OpenAPIHono, RouteConfig } from '@hono/zod-openapi';
import type { Handler, MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../../gateway-env.ts';
import type { GatewayOptions } from '../../gateway-options.ts';
import type { Shares } from '../../security/shares.ts';
import type { LoopTurns } from '../../streams/loop-turns.ts';
import type { StreamRooms } from '../../streams/stream-room.ts';

/** What the routes of the native API are added to. */
export interface Api {
  readonly app: OpenAPIHono<GatewayEnv>;
  readonly options: GatewayOptions;
  /** What a request passes before its handler. */
  readonly guards: {
    /** A valid token. */
    readonly token: MiddlewareHandler<GatewayEnv>;
    /** A JSON body of a bounded size. */
    readonly jsonBody: MiddlewareHandler<GatewayEnv>;
    /** Bodies that are read as they arrive. */
    readonly streams: Shares;
    /** What such bodies may have under way. */
    readonly rooms: StreamRooms;
    /** Whose work it is: for bodies that keep the event loop busy. */
    readonly turns: LoopTurns;
  };
}

/**
 * Adds a route to the app and to the document. The handler validates with the schemas that the route names: it reads
 * bodies without the framework's validator, which would round large integers.
 */
export function addRoute(
  api: Api,
  route: RouteConfig,
  ...handlers: (MiddlewareHandler<GatewayEnv> | Handler<GatewayEnv>)[]
): void {
  api.app.openAPIRegistry.registerPath(route);
  const path = route.path.replace(/\{(\w+)\}/g, ':$1');
  api.app.on(route.method.toUpperCase(), path, ...(handlers as [Handler<GatewayEnv>]));
}
