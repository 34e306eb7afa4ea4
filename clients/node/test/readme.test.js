import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { BINARY, Node } from './support/node.js';
import { Application } from './support/package.js';

/** What the examples refer to as given, and how an application that is behind one is used. */
const CONTEXT = `
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import jsonwebtoken from 'jsonwebtoken';
import { Blocklist, Verifier, type Claims } from '@adieu/client';

declare global {
  var blocklist: Blocklist;
  var claims: Claims;
  var secret: string;
  var socket: EventEmitter & { close(code: number): void };
  var token: string;
  var verifier: Verifier;
}
globalThis.blocklist = new Blocklist();
await blocklist.ready();
globalThis.claims = { jti: randomUUID(), exp: Math.floor(Date.now() / 1000) + 900 };
globalThis.secret = 'a secret of the application, which Adieu never sees';
globalThis.socket = Object.assign(new EventEmitter(), { close: (code: number) => void socket.emit('close', code) });
globalThis.token = process.env.TOKEN ?? '';
globalThis.verifier = new Verifier({ blocklist, issuer: 'adieu' });
await verifier.ready();

export async function logOutTwice(url: string) {
  const authorization = 'Bearer ' + jsonwebtoken.sign({ sub: 'jose' }, secret, { expiresIn: '15m', jwtid: randomUUID() });
  const answers = [];
  for (const headers of [{ authorization }, { authorization }, undefined]) {
    const answer = await fetch(url + '/logout', { method: 'POST', headers });
    answers.push([answer.status, await answer.json()]);
  }
  assert.deepEqual(answers, [
    [200, { message: 'Successfully logged out' }],
    [401, { description: 'The token has been revoked.', error: 'token_revoked' }],
    [401, { description: 'Request does not contain an access token.', error: 'authorization_required' }],
  ]);
}
`;

/** What shows that the example under a heading works. @type {Record<string, string>} */
const PROOFS = {
  'Quick start': `assert.equal(blocklist.isRevoked(claims), true);`,
  'Tokens in, claims out': `
    assert.equal(claims.iss, 'adieu');
    assert.throws(() => verifier.verify(token), { code: 'ADIEU_REVOKED' });`,
  'express-jwt': `
    import { once } from 'node:events';
    import type { AddressInfo } from 'node:net';
    const listener = app.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    await logOutTwice('http://127.0.0.1:' + (listener.address() as AddressInfo).port);
    listener.close();`,
  '@fastify/jwt': `
    await logOutTwice(await app.listen({ port: 0, host: '127.0.0.1' }));
    await app.close();`,
  jose: `
    await blocklist.revoke(verified.payload);
    assert.throws(() => assertGood(blocklist, verified, { token }), { code: 'ADIEU_REVOKED' });`,
  WebSockets: `
    assert.equal(typeof kid, 'string');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await blocklist.revoke(claims);
    assert.equal(await closed, 4401);`,
  'Probes and figures': `
    import { once } from 'node:events';
    import type { AddressInfo } from 'node:net';
    import { register } from 'prom-client';
    const listener = app.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    assert.equal((await fetch('http://127.0.0.1:' + (listener.address() as AddressInfo).port + '/readyz')).status, 200);
    assert.match(await register.metrics(), /^adieu_index_staleness_seconds /m);
    listener.close();`,
};

const README = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const EXAMPLES = README.split(/^##+ /m).flatMap((section) => {
  const heading = section.slice(0, section.indexOf('\n'));
  return [...section.matchAll(/^```[jt]s\n(.*?)^```$/gms)].map(([, code = ''], number) => ({ heading, code, file: `${heading}-${number}`.replaceAll(/[^\w-]/g, '_') }));
});

test('the examples of README.md compile in strict TypeScript, and work', async (t) => {
  const missing = Object.keys(PROOFS).filter((proven) => !EXAMPLES.some(({ heading }) => heading === proven));
  assert.deepEqual(missing, [], 'sections without an example');
  const app = new Application(t);
  app.add('@fastify/jwt', '@types/express', '@types/jsonwebtoken', '@types/node', 'express', 'express-jwt', 'fastify', 'jose', 'jsonwebtoken', 'prom-client', '@opentelemetry/api');
  const node = await Node.start(t);
  const variables = { ADIEU_BIN: BINARY, ADIEU_URL: node.url, ADIEU_CLIENT: 'shop', ADIEU_SECRET: node.addClient('shop') };

  app.write('context.mts', CONTEXT);
  for (const { heading, code, file } of EXAMPLES) {
    const head = `import assert from 'node:assert/strict';\nimport './context.mjs';\nimport { logOutTwice } from './context.mjs';\n`;
    app.write(`${file}.mts`, head + code.replaceAll('https://adieu.example', node.url) + (PROOFS[heading] ?? ''));
  }
  const files = EXAMPLES.map(({ file }) => `${file}.mts`);
  app.tool('typescript/bin/tsc', ['--strict', '--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', 'context.mts', ...files]);

  for (const { heading, file } of EXAMPLES) {
    await t.test(heading, async () => {
      const { access } = await node.logIn('jose');
      app.node([`${file}.mjs`], { ...variables, TOKEN: access });
    });
  }
});
