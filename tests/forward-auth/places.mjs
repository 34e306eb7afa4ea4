/** What the questions are asked of: a node, services, and proxies with the example of one proxy. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Node } from '../../clients/node/test/support/node.js';
import { Proxy } from '../../clients/node/test/support/proxy.js';
import { startGrpc } from './grpc.mjs';
import { OPTIONS, PYTHON, freePorts, startProxy } from './proxies.mjs';
import { Service, startFlask } from './service.mjs';

/** A folder of a test. @param {import('node:test').TestContext} t */
export function temporary(t) {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * What `QUESTIONS` are asked of.
 * @param {import('node:test').TestContext} t @param {string} name of the proxy
 * @param {(configuration: string) => string} [change] of the example
 * @returns {Promise<import('./questions.mjs').Place>}
 */
export async function placeOf(t, name, change) {
  const audit = join(temporary(t), 'audit');
  const tokens = { token_cookies: 'adieu', websocket_token: 'protocol,query', max_token_bytes: '65536' };
  const node = await Node.start(t, { trusted_proxies: '127.0.0.1/32', registration: 'open', audit_log: audit, ...tokens });
  const [service, grpc] = [await Service.start(t), await startGrpc(t)];
  const behind = { adieu: node.port, grpc: service.grpcPort, ...(change && { change }) };
  const [{ port }, { port: flaskPort }, full] = await Promise.all([
    startProxy(t, name, { ...behind, service: service.port }),
    startProxy(t, name, { ...behind, service: await startFlask(t, PYTHON) }),
    startProxy(t, name, { ...behind, service: service.port, grpc: grpc.port, options: OPTIONS }),
  ]);
  const [jose, ana] = [await node.logIn('jose'), await node.logInAsAdmin('ana')];
  return { node, service, port, flaskPort, audit, jose, ana, grpc, full };
}

/**
 * What `OUTAGES` are asked of, in their order.
 * @param {import('node:test').TestContext} t @param {string} name of the proxy
 * @param {(configuration: string) => string} [change] of the example
 * @returns {Promise<import('./outages.mjs').Place>}
 */
export async function outagePlaceOf(t, name, change) {
  const [adieu = 0] = await freePorts(1);
  const node = await Node.start(t, { listen: `127.0.0.1:${adieu}`, max_staleness: '300ms' });
  const service = await Service.start(t);
  const relay = await Proxy.start(t, adieu);
  const behind = { service: service.port, grpc: service.grpcPort, ...(change && { change }) };
  const { port } = await startProxy(t, name, { ...behind, adieu });
  const slow = await startProxy(t, name, { ...behind, adieu: Number(new URL(relay.url).port), options: OPTIONS });
  const { access: token } = await node.logIn('jose');
  return { node, service, port, slow, relay, token };
}
