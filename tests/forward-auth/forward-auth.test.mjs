/**
 * Asks the examples for five proxies the same questions, with the real proxies in front of a real node and real services:
 * `node --test tests/forward-auth/*.test.mjs`. `PROXIES=nginx,Envoy` asks only these; `UPDATE=1` writes the table into the documentation.
 */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Node } from '../../clients/node/test/support/node.js';
import { OUTAGES } from './outages.mjs';
import { outagePlaceOf, placeOf, temporary } from './places.mjs';
import { PROXIES, PYTHON, ROOT, startProxy, versionOf } from './proxies.mjs';
import { ATTACKS, QUESTIONS, forge } from './questions.mjs';
import { Service, startFlask } from './service.mjs';
import { http1 } from './wire.mjs';

/** The cells of the table with the answer no, and the note that says why. They are tested too: a yes fails. @type {Record<string, Record<string, string>>} */
const NO = JSON.parse(readFileSync(new URL('exceptions.json', import.meta.url), 'utf8'));

const asked = process.env.PROXIES?.split(',') ?? Object.keys(PROXIES);

/** @type {Record<string, Record<string, string>>} */
const table = {};

/**
 * Asks a question, and stores the answer.
 * @param {import('node:test').TestContext} t
 * @param {string} proxy @param {string} question @param {() => Promise<void>} ask
 */
async function answer(t, proxy, question, ask) {
  const exception = NO[question]?.[proxy];
  await t.test(question, async () => {
    if (exception === undefined) await ask();
    else await assert.rejects(ask, { name: 'AssertionError' }, 'this works now: remove the exception');
    (table[question] ??= {})[proxy] = exception === undefined ? 'yes' : `no ${exception}`;
  });
}

for (const name of asked) {
  test(`${name} ${versionOf(/** @type {import('./proxies.mjs').Proxy} */ (PROXIES[name]))}`, async (t) => {
    const place = await placeOf(t, name);
    for (const [group, questions] of Object.entries(QUESTIONS)) {
      for (const [question, ask] of Object.entries(questions)) {
        await answer(t, name, `${group}: ${question}`, () => ask(place));
      }
    }
  });

  test(`${name}: outages`, async (t) => {
    const place = await outagePlaceOf(t, name);
    for (const [question, ask] of Object.entries(OUTAGES)) {
      await answer(t, name, `Outage: Adieu ${question}`, () => ask(place));
    }
  });

  if (name === 'nginx') {
    test('nginx with the module headers-more', async (t) => {
      const node = await Node.start(t);
      const service = await Service.start(t);
      const change = (/** @type {string} */ text) => text.replace('# more_clear_input_headers', 'more_clear_input_headers');
      const behind = { adieu: node.port, change };
      const { port } = await startProxy(t, name, { ...behind, service: service.port });
      const { port: flaskPort } = await startProxy(t, name, { ...behind, service: await startFlask(t, PYTHON) });
      await forge({ service, port, flaskPort, jose: await node.logIn('jose') }, ATTACKS.future);
    });
  }

  test(`${name}: Adieu on a Unix socket`, async (t) => {
    const question = 'Adieu on a Unix socket';
    if (!PROXIES[name]?.socket) {
      (table[question] ??= {})[name] = `no ${NO[question]?.[name]}`;
      return;
    }
    const path = join(temporary(t), 'verify.sock');
    const node = await Node.start(t, { listen: `127.0.0.1:0,unix:${path}` });
    const service = await Service.start(t);
    const { port } = await startProxy(t, name, { adieu: path, service: service.port });
    const { access: token } = await node.logIn('jose');
    assert.equal((await http1(port, '/items', { token })).status, 200);
    assert.equal((await http1(port, '/admin', { token })).status, 403);
    await node.logOut(token);
    service.seen.length = 0;
    assert.equal((await http1(port, '/items', { token })).status, 401);
    await node.kill();
    assert.equal((await http1(port, '/items', { token })).status, 503);
    assert.equal(service.seen.length, 0);
    (table[question] ??= {})[name] = 'yes';
  });
}

test('the table in the documentation is that of this test', { skip: process.env.PROXIES !== undefined && 'only some proxies' }, () => {
  const head = asked.map((name) => `${name} ${versionOf(/** @type {import('./proxies.mjs').Proxy} */ (PROXIES[name]))}`);
  const rows = [['', ...head], ['---', ...head.map(() => '---')]];
  for (const [question, answers] of Object.entries(table)) rows.push([question, ...asked.map((name) => answers[name] ?? '?')]);
  const lines = rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
  process.stdout.write(`${lines}\n`);
  const file = join(ROOT, 'docs/forward-auth.md');
  const text = readFileSync(file, 'utf8');
  if (process.env.UPDATE) writeFileSync(file, text.replace(/(?<=<!-- table -->\n)[^]*(?=<!-- end of the table -->)/, () => `\n${lines}\n\n`));
  else assert.ok(text.includes(`<!-- table -->\n\n${lines}\n\n<!-- end of the table -->`), 'write it with UPDATE=1');
});
