// An OpenID provider, `oidc-provider`, with one client, whose logout tokens go to Adieu.
//
//   node provider.mjs BACKCHANNEL_LOGOUT_URI
//
// Prints a line of JSON: the issuer, and the access tokens of two logins of one user in two browsers. For each line on its standard input, it
// logs the user out in the first browser, and prints a line of JSON with the status. The provider prints other lines, with hints.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

import Provider from 'oidc-provider'

const [backchannelLogoutUri] = process.argv.slice(2)
const client = { client_id: 'shop', client_secret: randomBytes(16).toString('hex') }
const redirectUri = 'http://127.0.0.1/logged-in'
const resource = 'urn:example:api'

const server = createServer().listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
const provider = new Provider(issuer, {
  clients: [
    {
      ...client,
      redirect_uris: [redirectUri],
      backchannel_logout_uri: backchannelLogoutUri,
      backchannel_logout_session_required: true,
      id_token_signed_response_alg: 'ES256',
    },
  ],
  cookies: { keys: [randomBytes(16).toString('hex')] },
  jwks: { keys: [{ ...key, alg: 'ES256', use: 'sig', kid: 'key-1' }] },
  features: {
    backchannelLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: '',
        audience: 'api',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  // By default, it sends nothing to private addresses.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  // Puts the session into access tokens, so that a logout token with `sid` ends those of that session only.
  extraTokenClaims: (ctx) => ({ sid: ctx.oidc.entities.AuthorizationCode.sid }),
})
server.on('request', provider.callback())

/** A browser: it keeps cookies, and follows redirects within the provider. */
class Browser {
  #cookies = new Map()

  async open(url, form) {
    const response = await fetch(new URL(url, issuer), {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      redirect: 'manual',
      headers: { cookie: [...this.#cookies].map((cookie) => cookie.join('=')).join('; ') },
    })
    for (const cookie of response.headers.getSetCookie()) {
      const [name, ...value] = cookie.split(';')[0].split('=')
      this.#cookies.set(name, value.join('='))
    }
    const to = response.headers.get('location')
    if (to === null) return { url, status: response.status, text: await response.text() }
    return to.startsWith(redirectUri) ? { url: to } : this.open(to)
  }

  async logIn() {
    const verifier = randomBytes(32).toString('base64url')
    const request = new URLSearchParams({
      client_id: client.client_id,
      response_type: 'code',
      scope: 'openid',
      redirect_uri: redirectUri,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    })
    let page = await this.open(`/auth?${request}`)
    page = await this.open(page.url, { prompt: 'login', login: 'jose', password: '1234' })
    page = await this.open(page.url, { prompt: 'consent' })
    const code = new URL(page.url).searchParams.get('code')
    const response = await fetch(`${issuer}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: redirectUri,
      }),
      headers: { authorization: `Basic ${btoa(`${client.client_id}:${client.client_secret}`)}` },
    })
    const tokens = await response.json()
    if (!response.ok) throw new Error(JSON.stringify(tokens))
    this.idToken = tokens.id_token
    return tokens.access_token
  }

  async logOut() {
    const { text } = await this.open(`/session/end?id_token_hint=${this.idToken}`)
    const [, xsrf] = text.match(/name="xsrf" value="(\w+)"/)
    return (await this.open('/session/end/confirm', { xsrf, logout: 'yes' })).status
  }
}

const browsers = [new Browser(), new Browser()]
const tokens = []
for (const browser of browsers) tokens.push(await browser.logIn())
provider.on('server_error', (_, error) => console.error(error))
provider.on('backchannel.error', (_, error) => console.error(error))
console.log(JSON.stringify({ issuer, tokens }))
for await (const _ of createInterface({ input: process.stdin })) console.log(JSON.stringify({ status: await browsers[0].logOut() }))
process.exit(0)
