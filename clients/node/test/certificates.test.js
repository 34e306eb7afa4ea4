/** A node that requires certificates of clients. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { Blocklist, Verifier } from '../src/index.js';
import { environmentOf, spawnServer } from '../src/testing.js';
import { BINARY, eventually } from './support/node.js';

/**
 * Starts a node with TLS, and makes certificates: `shop`, and `old`, which has expired, of the authority that it knows, and `stranger`.
 * @param {import('node:test').TestContext} t
 */
async function start(t) {
  const folder = mkdtempSync(join(tmpdir(), 'adieu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = (/** @type {string} */ name) => join(folder, name);
  const openssl = (/** @type {string} */ words) => execFileSync('openssl', words.split(' '), { cwd: folder, stdio: 'pipe' });
  const made = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';
  openssl(`req -x509 ${made} -days 2 -subj /CN=node -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE
    -keyout node-key.pem -out node.pem`.replace(/\s+/g, ' '));
  for (const authority of ['clients', 'strangers']) {
    openssl(`req -x509 ${made} -days 2 -subj /CN=${authority} -addext basicConstraints=critical,CA:TRUE
      -keyout ${authority}-key.pem -out ${authority}.pem`.replace(/\s+/g, ' '));
  }
  // Only `openssl ca` sets a date in the past.
  writeFileSync(file('conf'), `[ca]\ndefault_ca=own\n[own]\ndatabase=index\nnew_certs_dir=.\npolicy=any\ndefault_md=sha256\n`
    + `rand_serial=yes\nunique_subject=no\n[any]\ncommonName=supplied\n[client]\nextendedKeyUsage=clientAuth\n`);
  writeFileSync(file('index'), '');
  for (const [name, authority, dates] of [
    ['shop', 'clients', '-days 2'],
    ['old', 'clients', '-startdate 20200101000000Z -enddate 20200201000000Z'],
    ['stranger', 'strangers', '-days 2'],
  ]) {
    openssl(`req -new ${made} -subj /CN=${name} -keyout ${name}-key.pem -out ${name}.csr`);
    openssl(`ca -batch -notext -config conf -extensions client -cert ${authority}.pem -keyfile ${authority}-key.pem
      -in ${name}.csr -out ${name}-only.pem ${dates}`.replace(/\s+/g, ' '));
    writeFileSync(file(`${name}.pem`), readFileSync(file(`${name}-only.pem`), 'utf8') + readFileSync(file(`${name}-key.pem`), 'utf8'));
  }
  const environment = environmentOf(file('data'), {
    tls_certificate: file('node.pem'),
    tls_key: file('node-key.pem'),
    tls_client_ca: file('clients.pem'),
  });
  const server = await spawnServer(BINARY, environment);
  t.after(() => server.process.kill('SIGKILL'));
  const added = execFileSync(BINARY, ['client', 'add', 'shop', '--capabilities', 'follow,revoke', '--json'], {
    env: environment,
    encoding: 'utf8',
  });
  const options = { url: server.url, clientId: 'shop', secret: JSON.parse(added).secret, caFile: file('node.pem'), onEvent() {} };
  return { file, options };
}

test('a service follows with a certificate, and with no other', async (t) => {
  const { file, options } = await start(t);
  const verifier = new Verifier({ ...options, certificateFile: file('shop.pem'), issuer: 'adieu' });
  t.after(() => verifier.close());
  await verifier.ready();
  const exp = Math.floor(Date.now() / 1000) + 600;
  await verifier.blocklist.revoke({ jti: 'one', exp });
  assert.equal(verifier.blocklist.isRevoked({ jti: 'one', exp }), true);
  // Over a blocklist that exists, the keys are read in the same way.
  const shared = new Verifier({ blocklist: verifier.blocklist, issuer: 'adieu' });
  t.after(() => shared.close());
  await shared.ready();

  const without = new Blocklist(options);
  t.after(() => without.close());
  const refused = { code: 'ADIEU_REJECTED', message: /does not let this client do that.*: A client certificate is required\./ };
  await assert.rejects(without.ready(), refused);
  for (const name of ['stranger', 'old']) {
    const blocklist = new Blocklist({ ...options, certificateFile: file(`${name}.pem`) });
    t.after(() => blocklist.close());
    await assert.rejects(blocklist.revoke({ jti: 'two', exp }, { timeout: 2000 }), { code: 'ADIEU_UNREACHABLE' }, name);
    assert.equal(blocklist.status().ready, false, name);
  }
});

test('a renewed certificate is used without a restart', async (t) => {
  const { file, options } = await start(t);
  copyFileSync(file('old.pem'), file('ours.pem'));
  const blocklist = new Blocklist({ ...options, certificateFile: file('ours.pem') });
  t.after(() => blocklist.close());
  await eventually(async () => blocklist.status().failure !== undefined, 'the certificate is rejected');
  // While it is replaced, it may be missing.
  rmSync(file('ours.pem'));
  const exp = Math.floor(Date.now() / 1000) + 600;
  await assert.rejects(blocklist.revoke({ jti: 'one', exp }, { timeout: 2000 }), { code: 'ADIEU_UNREACHABLE', message: /ENOENT/ });
  copyFileSync(file('shop.pem'), file('ours.pem'));
  await blocklist.ready();
});

test('files that cannot be used are an error at once', async (t) => {
  const { file, options } = await start(t);
  writeFileSync(file('mixed.pem'), readFileSync(file('shop-only.pem'), 'utf8') + readFileSync(file('old-key.pem'), 'utf8'));
  for (const wrong of [
    { caFile: file('missing.pem') },
    { caFile: file('shop-key.pem') },
    { certificateFile: file('missing.pem') },
    { certificateFile: file('shop-only.pem') },
    { certificateFile: file('mixed.pem') },
    { certificateFile: /** @type {any} */ (7) },
  ]) {
    assert.throws(() => new Blocklist({ ...options, ...wrong }), { code: 'ADIEU_USAGE' }, JSON.stringify(wrong));
  }
});
