/** The questions that are asked of every proxy. A question that returns has the answer yes. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { connect as connectTls } from 'node:tls';

import { claimsOf, eventually } from '../../clients/node/test/support/node.js';
import { PASSED, callEach } from './grpc.mjs';
import { OWN, hashOf } from './service.mjs';
import { exchange, h2, http1, openSession, webSocket, webSocketH2 } from './wire.mjs';

/**
 * What the questions are asked of: `flaskPort` is the same proxy in front of Flask, `full` is one with all lines that its example has as
 * comments, in front of a service of the library gRPC.
 * @typedef {{
 *   node: import('../../clients/node/test/support/node.js').Node, service: import('./service.mjs').Service,
 *   port: number, flaskPort: number, audit: string, grpc: import('./grpc.mjs').GrpcService,
 *   full: { port: number, tls: { port: number, ca: string }, logged: () => string },
 *   jose: { access: string, refresh: string }, ana: { access: string, refresh: string },
 * }} Place
 * @typedef {{ name: string, lines: string[], trailers?: string[], http1?: boolean }} Attack
 */

/**
 * A request with tokens in other places than `Authorization`: `{jose}` is a valid token, `{csrf}` its CSRF value, `{gone}` a revoked token and
 * `{origin}` the origin of a page of the same host. With the status 200, it reaches the service; `forwarded` are the subprotocols then.
 * @typedef {{
 *   name: string, lines: string[], status: number | number[], path?: string, method?: string, webSocket?: boolean, http1?: boolean,
 *   http2?: boolean, forwarded?: string,
 * }} TokenAttack
 * @type {{
 *   identity: Attack[], trailers: Attack[], future: Attack[], address: Attack[], paths: string[],
 *   cookies: TokenAttack[], protocols: TokenAttack[], query: TokenAttack[],
 * }}
 */
export const ATTACKS = JSON.parse(readFileSync(new URL('attacks.json', import.meta.url), 'utf8'));

/** @typedef {(port: number, path: string, request?: import('./wire.mjs').Request) => Promise<import('./wire.mjs').Answer>} Send */

/** @type {Record<string, Send>} */
const VERSIONS = { 'HTTP/1.1': http1, 'HTTP/2': h2 };

/** The same over TLS. @param {string} ca @returns {Record<string, Send>} */
function overTls(ca) {
  return Object.fromEntries(
    Object.entries(VERSIONS).map(([version, send]) => [`${version} over TLS`, (port, path, request) => send(port, path, { ...request, ca })]),
  );
}

/** A name as the most generous service reads it. @param {string} name */
const folded = (name) => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');

/** The headers with the names and values that a service may take for ours, by folded names. @param {string[]} raw */
function identities(raw) {
  /** @type {Record<string, string[]>} */
  const found = {};
  raw.forEach((value, at) => {
    const name = folded(raw[at - 1] ?? '');
    if (at % 2 === 1 && /^x-adieu/.test(name)) (found[name] ??= []).push(value);
  });
  return found;
}

/**
 * The paths that services read in one: the path as it was sent, but for escapes of letters and digits, which no service tells from these
 * (RFC 3986 §6.2.2.2); the path of a URL; and the decoded path without parameters, as services in Java read it, and without dot segments.
 * @param {string} reached
 */
function readings(reached) {
  const character = (/** @type {string} */ _, /** @type {string} */ hex) => String.fromCharCode(Number.parseInt(hex, 16));
  const sent = reached.replace(/\?.*/, '').replace(/^http:\/\/[^/]*/, '');
  const raw = sent.replaceAll(/%(3\d|[46][1-9a-f]|[57][\da])/gi, character);
  // Some services also read `%u002e`.
  const decoded = sent.replaceAll(/%([\da-f]{2})|%u([\da-f]{4})/gi, (_, hex, hex4) => character(_, hex ?? hex4));
  const pathOf = (/** @type {string} */ path) => new URL(path.replaceAll(/[?#]/g, '_'), 'http://x').pathname;
  return [raw, pathOf(raw), pathOf(decoded.replaceAll(/;[^/]*/g, '').replaceAll(/[\\/]+/g, '/'))];
}

/** What the service must read of a token. @param {string} token @param {string} [admin] */
function identityOf(token, admin = 'false') {
  const { sub, sid, iss } = claimsOf(token);
  return { 'x-adieu-subject': [sub], 'x-adieu-session': [sid], 'x-adieu-issuer': [iss], 'x-adieu-admin': [admin] };
}

/** What matters of a response of Adieu's. @param {import('./wire.mjs').Answer} answer */
const refusal = ({ status, headers, body }) => ({
  status,
  body,
  type: headers['content-type'],
  cache: headers['cache-control'],
  challenge: headers['www-authenticate'],
});

/**
 * Sends attacks to protected and public routes and as preflights, over both versions, with Node and, if there is a port, Flask behind.
 * @param {Pick<Place, 'service' | 'port' | 'jose'> & { flaskPort?: number }} place @param {Attack[]} attacks @param {Record<string, Send>} [versions]
 */
export async function forge({ service, port, flaskPort, jose }, attacks, versions = VERSIONS) {
  const preflight = { method: 'OPTIONS', lines: ['Origin: http://127.0.0.1', 'Access-Control-Request-Method: PUT'] };
  for (const attack of attacks) {
    for (const [version, send] of Object.entries(versions)) {
      if (attack.http1 && !version.startsWith('HTTP/1.1')) continue;
      const { lines, trailers } = attack;
      const method = trailers ? 'POST' : 'GET';
      /** @type {string} */
      const why = `${attack.name}, ${version}`;

      service.seen.length = 0;
      const without = await send(port, '/items', { method, lines, trailers });
      assert.ok(without.status === 0 || without.status >= 400, `${why}, no token: ${without.status}`);
      assert.equal(service.seen.length, 0, `${why}, no token`);

      for (const [route, expected, request] of /** @type {const} */ ([
        ['/items', identityOf(jose.access), { method, token: jose.access, lines, trailers }],
        ['/public/items', {}, { method, token: jose.access, lines, trailers }],
        ['/items', {}, { ...preflight, lines: [...preflight.lines, ...lines] }],
      ])) {
        const where = `${why}, ${request.method} ${route}`;
        service.seen.length = 0;
        const answer = await send(port, route, request);
        for (const seen of service.seen) assert.deepEqual(identities(seen.headers), expected, `${where}, Node`);
        // A proxy may reject the request itself.
        if (service.seen.length === 0) assert.ok(answer.status === 0 || (answer.status >= 400 && answer.status < 500), `${where}: ${answer.status}`);

        if (flaskPort !== undefined) await forgeFlask(flaskPort, where, send, route, request, expected);
      }
    }
  }
}

/**
 * Sends an attack to Flask, which returns the identity that it reads.
 * @param {number} port @param {string} where @param {Send} send @param {string} route @param {import('./wire.mjs').Request} request
 * @param {Record<string, string[]>} expected
 */
async function forgeFlask(port, where, send, route, request, expected) {
  const { status, body } = await send(port, route, request);
  // Nothing reads the chunked body there, so that the proxy may see the connection break.
  if (status !== 200) assert.ok(status === 0 || (status >= 400 && (request.trailers || status < 500)), `${where}, Flask: ${status}`);
  else {
    const environment = Object.entries(JSON.parse(body)).map(([name, value]) => [folded(name), [value]]);
    assert.deepEqual(Object.fromEntries(environment.sort()), Object.fromEntries(Object.entries(expected).sort()), `${where}, Flask`);
  }
}

/**
 * Sends requests with tokens in other places, over all versions, as WebSockets where they are ones. Neither the service nor the log of the
 * proxy may get a token that is not in a cookie or in `Authorization`.
 * @param {Place} place @param {TokenAttack[]} attacks
 */
async function present({ node, service, full }, attacks) {
  const [jose, gone] = [await node.logInWithCookies('jose'), await node.logInWithCookies('jose')];
  await node.logOut(gone.access);
  const words = { jose: jose.access, gone: gone.access, csrf: jose.csrf };
  for (const { port, ca } of [{ port: full.port, ca: undefined }, full.tls]) {
    const origin = `http${ca === undefined ? '' : 's'}://127.0.0.1:${port}`;
    const filled = (/** @type {string} */ text) =>
      Object.entries({ ...words, origin }).reduce((text, [word, value]) => text.replaceAll(`{${word}}`, value), text);
    for (const attack of attacks) {
      const { name, lines, status, path = '/items', method = 'GET', forwarded } = attack;
      const sends = attack.webSocket ? { 'HTTP/1.1': webSocket, 'HTTP/2': webSocketH2 } : VERSIONS;
      for (const [version, send] of Object.entries(sends)) {
        if (version === 'HTTP/1.1' ? attack.http2 : attack.http1) continue;
        const why = `${name}, ${version}${ca === undefined ? '' : ' over TLS'}`;
        service.seen.length = 0;
        const answer = await send(port, filled(path), { method, lines: lines.map(filled), ca });
        if (answer === undefined) continue;
        const got = answer.status === 101 ? 200 : answer.status;
        assert.ok([status].flat().includes(got), `${why}: ${answer.status}`);
        assert.equal(service.seen.length, got === 200 ? 1 : 0, why);
        for (const { path: reached, headers } of service.seen) {
          assert.deepEqual(identities(headers), identityOf(jose.access), why);
          const others = headers.filter((_, at) => at % 2 === 0 || !/^(cookie|authorization)$/i.test(headers[at - 1] ?? ''));
          for (const text of [reached, ...others]) assert.ok(!text.includes(signatureOf(jose.access)), `${why}: forwarded ${text}`);
          const protocols = headers.filter((_, at) => at % 2 === 1 && /^sec-websocket-protocol$/i.test(headers[at - 1] ?? ''));
          if (forwarded !== undefined) assert.deepEqual(protocols.map((list) => list.replaceAll(/\s*,\s*/g, ', ').trim()), [forwarded], why);
          if (path.includes('room=1')) assert.match(reached, /[?&]room=1(&|$)/, why);
        }
      }
    }
  }
  // Proxies log errors, too.
  await http1(full.port, `/broken?access_token=${jose.access}`, { lines: ['Sec-WebSocket-Version: 13'] });
  await eventually(() => /\b401\b/.test(full.logged()), 'the access log');
  for (const token of [jose.access, gone.access]) assert.deepEqual(full.logged().split('\n').filter((line) => line.includes(signatureOf(token))), []);
}

const signatureOf = (/** @type {string} */ token) => token.replace(/.*\./, '');

/** @type {Record<string, Record<string, (place: Place) => Promise<void>>>} */
export const QUESTIONS = {
  'No forged identity': {
    'every spelling of our headers, by HTTP/1.1 and HTTP/2, on protected and public routes': (place) => forge(place, ATTACKS.identity),
    'nor in trailers': (place) => forge(place, ATTACKS.trailers),
    'nor names that do not exist yet': (place) => forge(place, ATTACKS.future),
    'no spelling of a path avoids the check': async ({ service, port, jose }) => {
      for (const path of ATTACKS.paths) {
        for (const [version, send] of Object.entries(VERSIONS)) {
          if (version === 'HTTP/2' && !path.startsWith('/')) continue;
          // Without a token, only public routes; with a token that does not meet their requirements, all routes but these.
          for (const [token, allowed] of /** @type {const} */ ([[undefined, /^\/public\//], [jose.access, /^(?!\/(admin|reports))/]])) {
            service.seen.length = 0;
            await send(port, path.replace('{host}', `127.0.0.1:${port}`), { token });
            for (const { path: reached } of service.seen) {
              const why = `${path} as ${reached}, ${version}, ${token === undefined ? 'no' : 'a'} token`;
              for (const reading of readings(reached)) assert.match(reading, allowed, why);
            }
          }
        }
      }
    },
    'each route has requirements of its own, and the client has no say in them': async ({ node, service, port, jose, ana }) => {
      const again = await node.refresh((await node.logIn('jose')).refresh);
      for (const [path, token, wanted, status] of /** @type {const} */ ([
        ['/admin', jose.access, 'admin=true', 403],
        ['/admin/', jose.access, 'admin=true', 403],
        ['/admin/users?admin=false&x=/verify', jose.access, 'admin=true', 403],
        ['/reports', jose.access, 'claim=department:sales', 403],
        ['/password', again.access, 'fresh=true', 401],
        ['/password?fresh=false', again.access, 'fresh=true', 401],
      ])) {
        service.seen.length = 0;
        const direct = await http1(node.port, `/verify?${wanted}`, { token });
        assert.equal(direct.status, status);
        for (const send of Object.values(VERSIONS)) assert.deepEqual(refusal(await send(port, path, { token })), refusal(direct), path);
        assert.equal(service.seen.length, 0, path);
      }
      assert.equal((await http1(port, '/admin/users', { token: ana.access })).status, 200);
      assert.deepEqual(identities(service.seen.pop()?.headers ?? []), identityOf(ana.access, 'true'));
      assert.equal((await http1(port, '/password', { token: jose.access })).status, 200);
    },
    "the service and Adieu see the client's address, and nothing that it says about it": async ({ service, port, audit }) => {
      for (const [at, { name, lines }] of ATTACKS.address.entries()) {
        // Each fails to log in once, which is no reason to limit it.
        const client = `127.0.1.${at + 1}`;
        service.seen.length = 0;
        const before = readFileSync(audit, 'utf8').length;
        const body = `{"username":"user-${at}","password":"not hers at all"}`;
        const json = 'Content-Type: application/json';
        const failed = await http1(port, '/auth/login', { method: 'POST', from: client, lines: [json, ...lines], body });
        await http1(port, '/public/x', { from: client, lines });
        // A proxy may reject such a request.
        if (failed.status < 200 || failed.status === 400) continue;
        assert.equal(failed.status, 401, name);
        await eventually(() => readFileSync(audit, 'utf8').length > before, 'the audit line');
        const [line = ''] = readFileSync(audit, 'utf8').slice(before).split('\n');
        assert.ok(line.includes(`"${client}"`), `${name}: ${line}`);
        const raw = service.seen.pop()?.headers ?? [];
        const about = raw.filter((_, at) => at % 2 === 1 && /^(x-)?forwarded(-for)?$|^x-real-ip$/.test(folded(raw[at - 1] ?? '')));
        assert.ok(about.length > 0 && about.every((value) => value.includes(client) && !value.includes('.66')), `${name}: ${about}`);
      }
    },
  },

  Tokens: {
    'in cookies': (place) => present(place, ATTACKS.cookies),
    'of WebSockets, among the subprotocols: neither forwarded nor logged': (place) => present(place, ATTACKS.protocols),
    'of WebSockets, in the query: neither forwarded nor logged': (place) => present(place, ATTACKS.query),
  },

  'Pass-through': {
    "Adieu's rejections with challenge and body": async ({ node, service, port, jose, ana }) => {
      const gone = await node.logIn('jose');
      await node.logOut(gone.access);
      service.seen.length = 0;
      for (const [why, request] of Object.entries({
        missing: {},
        'another scheme': { lines: ['Authorization: Basic am9zZTox'] },
        malformed: { token: 'x' },
        forged: { token: `${ana.access.slice(0, -8)}AAAAAAAA` },
        revoked: { token: gone.access },
        'a refresh token': { token: jose.refresh },
        'with a method of its own': { token: 'x', method: 'DELETE' },
        'with a body': { token: 'x', method: 'POST', body: 'x'.repeat(100_000) },
      })) {
        const direct = refusal(await http1(node.port, '/verify', { ...request, method: 'GET', body: undefined }));
        assert.equal(direct.status, 401);
        for (const [version, send] of Object.entries(VERSIONS)) {
          assert.deepEqual(refusal(await send(port, '/items', request)), direct, `${why}, ${version}`);
        }
      }
      const two = { token: jose.access, lines: ['Authorization: Bearer x'] };
      assert.equal((await http1(node.port, '/verify', two)).status, 400);
      // Envoy joins them.
      assert.match(`${(await http1(port, '/items', two)).status}`, /^40[01]$/);
      assert.equal(service.seen.length, 0);
    },
    "the service's own 400, 401, 403, 404, 422, 500 and 503": async ({ port, jose }) => {
      for (const status of OWN) {
        for (const [version, send] of Object.entries(VERSIONS)) {
          const { status: got, headers, body } = await send(port, `/own/${status}`, { token: jose.access });
          assert.deepEqual([got, headers['www-authenticate'], headers['x-own'], body], [status, 'Own realm="service"', 'yes', `own ${status}`], version);
        }
      }
    },
    'bodies of 10 MB, also chunked and after `Expect: 100-continue`': async ({ service, port, jose }) => {
      const body = Buffer.alloc(10_000_000, 'bodies ');
      for (const [send, request] of /** @type {const} */ ([
        [http1, { body }],
        [http1, { body, chunked: true }],
        [http1, { body, lines: ['Expect: 100-continue'] }],
        [http1, { body, chunked: true, lines: ['Expect: 100-continue'] }],
        [h2, { body }],
      ])) {
        service.seen.length = 0;
        assert.equal((await send(port, '/items', { method: 'POST', token: jose.access, ...request })).status, 200);
        assert.deepEqual([service.seen[0]?.body, service.seen[0]?.hash], [body.length, hashOf(body)]);
        // Without a token, the body is not needed for a response.
        assert.equal((await send(port, '/items', { method: 'POST', ...request, body: body.subarray(0, 50_000) })).status, 401);
        assert.equal(service.seen.length, 1);
      }
    },
    'paths and queries of 64 KiB': async ({ service, port, jose }) => {
      for (const path of [`/${'x'.repeat(65_536)}`, `/items?${'x=%20&'.repeat(10_922)}`]) {
        for (const [version, send] of Object.entries(VERSIONS)) {
          service.seen.length = 0;
          assert.equal((await send(port, path, { token: jose.access })).status, 200, version);
          assert.equal(service.seen[0]?.path, path);
          assert.equal((await send(port, path)).status, 401, version);
        }
      }
    },
    'paths with escapes, dots and parameters, as they were sent': async ({ service, port, jose }) => {
      for (const name of ['a%20b', '%C3%A9', '%25%3F%23', '.well-known/x', 'v1..v2', '...', 'a+b;c=d@e:f,(g)', 'x?url=http://a/../b%2F..\\']) {
        for (const [route, token] of /** @type {const} */ ([['/items/', jose.access], ['/public/', undefined]])) {
          for (const [version, send] of Object.entries(VERSIONS)) {
            service.seen.length = 0;
            assert.equal((await send(port, route + name, { token })).status, 200, `${route}${name}, ${version}`);
            assert.deepEqual(service.seen.map(({ path }) => path), [route + name], version);
          }
        }
      }
    },
    'tokens of 64 KB': async ({ node, port }) => {
      const token = 'x'.repeat(64_000);
      const direct = refusal(await http1(node.port, '/verify', { token }));
      assert.equal(direct.status, 401);
      for (const [version, send] of Object.entries(VERSIONS)) assert.deepEqual(refusal(await send(port, '/items', { token })), direct, version);
    },
    WebSockets: async ({ service, port, jose }) => {
      for (const open of [webSocket, webSocketH2]) {
        for (const [token, passes] of /** @type {const} */ ([['x', false], [jose.access, true]])) {
          service.seen.length = 0;
          const opened = await open(port, '/socket', { token, lines: ['X-Adieu-Subject: root'] });
          // Few proxies offer them over HTTP/2.
          if (opened === undefined) continue;
          assert.deepEqual([opened.status < 300, opened.echoed], passes ? [true, 'a frame'] : [false, '']);
          assert.equal(passes || opened.status === 401, true, `${opened.status}`);
          if (passes) assert.deepEqual(identities(service.seen[0]?.headers ?? []), identityOf(jose.access));
          else assert.equal(service.seen.length, 0);
        }
      }
    },
    'no tunnel for other protocols, through which requests would pass unchecked': async ({ service, port, jose }) => {
      const settings = ['HTTP2-Settings: AAMAAABkAAQAAP__', 'Connection: Upgrade, HTTP2-Settings'];
      for (const [token, route] of /** @type {const} */ ([[jose.access, '/items'], [undefined, '/public/x']])) {
        for (const lines of [['Upgrade: h2c', ...settings], ['Upgrade: foo', 'Connection: Upgrade'], ['Upgrade: h2c, websocket', ...settings]]) {
          service.seen.length = 0;
          const { status } = await http1(port, route, { token, lines });
          assert.ok(status === 200 || (status >= 400 && status < 500), `${lines}: ${status}`);
        }
        const connect = await http1(port, '127.0.0.1:22', { token, method: 'CONNECT' });
        assert.ok(connect.status === 0 || connect.status >= 400, `CONNECT: ${connect.status}`);
      }
    },
    'gRPC, with trailers': async ({ service, port, jose }) => {
      const call = { method: 'POST', lines: ['Content-Type: application/grpc', 'TE: trailers', 'X-Adieu-Subject: root'], body: Buffer.from([0, 0, 0, 0, 0]) };
      service.seen.length = 0;
      // Envoy translates the status, as gRPC clients do: 16 is UNAUTHENTICATED.
      const rejected = await h2(port, '/shop.Orders/Get', call);
      assert.ok(rejected.status === 401 || rejected.headers['grpc-status'] === '16', `${rejected.status}`);
      assert.equal(service.seen.length, 0);
      const { status, trailers, body } = await h2(port, '/shop.Orders/Get', { ...call, token: jose.access });
      assert.deepEqual([status, trailers['grpc-status'], trailers['grpc-message'], body.length], [200, '0', 'fine', 5]);
      assert.deepEqual(identities(service.seen[0]?.headers ?? []), identityOf(jose.access));
    },
    'TLS: HTTP/2 or HTTP/1.1 by ALPN, and no forged identity': async ({ service, full: { tls: { port, ca } }, jose }) => {
      for (const [offered, chosen] of /** @type {[string[], string | false][]} */ ([[['h2', 'http/1.1'], 'h2'], [['http/1.1'], 'http/1.1'], [[], false]])) {
        const socket = connectTls({ port, host: '127.0.0.1', ca, ALPNProtocols: offered });
        await once(socket, 'secureConnect');
        assert.equal(socket.alpnProtocol, chosen, `${offered}`);
        socket.destroy();
      }
      const versions = overTls(ca);
      await forge({ service, port, jose }, ATTACKS.identity, versions);
      for (const [version, send] of Object.entries(versions)) {
        service.seen.length = 0;
        assert.equal((await send(port, '/items', { token: jose.access, lines: ['X-Forwarded-Proto: http'] })).status, 200, version);
        const raw = service.seen[0]?.headers ?? [];
        const schemes = raw.filter((_, at) => at % 2 === 1 && folded(raw[at - 1] ?? '') === 'x-forwarded-proto');
        assert.deepEqual(schemes, ['https'], version);
      }
    },
    'TLS: requests that share a connection of HTTP/2, each with its own verdict and identity': async ({ node, service, full: { tls: { port, ca } }, jose, ana }) => {
      const gone = await node.logIn('jose');
      await node.logOut(gone.access);
      service.seen.length = 0;
      const cases = /** @type {const} */ ([[jose.access, 200, 'false'], [ana.access, 200, 'true'], [gone.access, 401, ''], [undefined, 401, '']]);
      const session = openSession(port, { ca });
      const answers = await Promise.all(Array.from({ length: 60 }, (_, at) => exchange(session, `/items/${at % 4}`, { token: cases[at % 4]?.[0] })));
      session.destroy();
      answers.forEach(({ status }, at) => assert.equal(status, cases[at % 4]?.[1], `request ${at}`));
      assert.equal(service.seen.length, 30);
      for (const { path, headers } of service.seen) {
        const [token = '', , admin] = cases[Number(path.slice(-1))] ?? [];
        assert.deepEqual(identities(headers), identityOf(token, admin));
      }
    },
    'gRPC by a library, with and without TLS: unary calls and streams, and `UNAUTHENTICATED` for a revoked token': async ({ node, grpc, full, jose }) => {
      const gone = await node.logIn('jose');
      await node.logOut(gone.access);
      for (const { port, ca } of [{ port: full.port, ca: undefined }, full.tls]) {
        const why = ca === undefined ? 'without TLS' : 'with TLS';
        grpc.seen.length = 0;
        for (const token of [undefined, 'x', gone.access]) {
          const outcomes = await callEach(port, { token, ca });
          for (const [kind, outcome] of Object.entries(outcomes)) assert.equal(outcome, 'UNAUTHENTICATED', `${kind}, ${why}`);
        }
        assert.equal(grpc.seen.length, 0, why);
        assert.deepEqual(await callEach(port, { token: jose.access, ca }), PASSED, why);
        assert.equal(grpc.seen.length, Object.keys(PASSED).length, why);
        for (const headers of grpc.seen) assert.deepEqual(identities(Object.entries(headers).flatMap(([name, values]) => values.flatMap((value) => [name, value]))), identityOf(jose.access));
      }
    },
    'connections that are kept under load: every request has its own verdict and identity': async ({ node, service, port, jose, ana }) => {
      const gone = await node.logIn('jose');
      await node.logOut(gone.access);
      service.seen.length = 0;
      const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
      const cases = /** @type {const} */ ([[jose.access, 200], [ana.access, 200], [gone.access, 401]]);
      const statuses = await Promise.all(Array.from({ length: 600 }, async (_, at) => {
        const [token] = /** @type {[string, number]} */ (cases[at % 3]);
        const request = http.get({ host: '127.0.0.1', port, path: `/items/${at % 3}`, agent, headers: { authorization: `Bearer ${token}` } });
        const [response] = /** @type {[http.IncomingMessage]} */ (await once(request, 'response'));
        response.resume();
        await once(response, 'end');
        return response.statusCode;
      }));
      agent.destroy();
      statuses.forEach((status, at) => assert.equal(status, cases[at % 3]?.[1], `request ${at}`));
      assert.equal(service.seen.length, 400);
      for (const { path, headers } of service.seen) {
        const at = Number(path.slice(-1));
        assert.deepEqual(identities(headers), identityOf(/** @type {string} */ (cases[at]?.[0]), at === 1 ? 'true' : 'false'));
      }
    },
  },

  Preflights: {
    '`OPTIONS` with `Access-Control-Request-Method` reaches the service without a token, and nothing else does': async ({ service, port }) => {
      const origin = 'Origin: http://127.0.0.1';
      const wanted = 'Access-Control-Request-Method: PUT';
      for (const [version, send] of Object.entries(VERSIONS)) {
        for (const path of ['/items', '/admin/users', '/reports']) {
          service.seen.length = 0;
          assert.equal((await send(port, path, { method: 'OPTIONS', lines: [origin, wanted] })).status, 200, version);
          assert.deepEqual(service.seen.map(({ method, path }) => [method, path]), [['OPTIONS', path]]);
        }
        service.seen.length = 0;
        for (const [method, lines] of /** @type {[string, string[]][]} */ ([
          ['OPTIONS', [origin]],
          ['OPTIONS', [origin, 'Access-Control-Request-Method:']],
          ['OPTIONS', [origin, 'Access_Control_Request_Method: PUT']],
          ['OPTIONS', [origin, 'Access-Control-Request-Headers: authorization']],
          ['GET', [origin, wanted]],
          ['POST', [origin, wanted]],
          ['PROPFIND', [origin, wanted]],
          ['GET', [origin, wanted, 'X-HTTP-Method-Override: OPTIONS']],
        ])) {
          const { status } = await send(port, '/items', { method, lines });
          assert.ok(status === 0 || (status >= 400 && status < 500), `${method} ${lines}, ${version}: ${status}`);
        }
        assert.equal((await http1(port, '/items', { method: 'options', lines: [origin, wanted] })).status >= 400, true);
        assert.equal(service.seen.length, 0, version);
      }
    },
  },
};
