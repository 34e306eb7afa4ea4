// An issuer on `jose`: publishes its public keys, prints where and some tokens as one line of JSON, and goes on until its
// standard input ends.

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'

import { SignJWT, exportJWK, generateKeyPair } from 'jose'

const keys = await Promise.all(
  ['EdDSA', 'ES256', 'RS256', 'PS384'].map(async (alg) => ({ alg, kid: randomUUID(), ...(await generateKeyPair(alg)) })),
)
const jwk = async ({ alg, kid, publicKey }) => ({ ...(await exportJWK(publicKey)), alg, kid, use: 'sig' })
const published = JSON.stringify({ keys: await Promise.all(keys.map(jwk)) })

const sign = ({ alg, kid, privateKey }, claims = {}) =>
  new SignJWT({ is_admin: true, ...claims })
    .setProtectedHeader({ alg, kid, typ: 'at+jwt' })
    .setIssuer('jose-issuer')
    .setSubject('jose')
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey)

const tokens = {}
for (const key of keys) tokens[key.alg] = await sign(key)
const stranger = { ...keys[0], ...(await generateKeyPair('EdDSA')) }
const bad = { 'a stranger with the same key id': await sign(stranger), 'an unknown key id': await sign({ ...keys[0], kid: '1' }) }

const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/jwk-set+json')
  response.end(published)
})
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ jwks_url: `http://127.0.0.1:${server.address().port}/jwks.json`, tokens, bad }))
})
process.stdin.on('end', () => process.exit(0)).resume()
