// Configures openid-client and oauth4webapi from the URL of an issuer alone, and revokes and introspects tokens with them.
//
//   node discovery.mjs ISSUER CLIENT SECRET TOKEN TOKEN
//
// Prints one line of JSON: whether each library called each token active before and after it revoked it.

import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const [issuer, clientId, secret, first, second] = process.argv.slice(2)
const url = new URL(issuer)
const printed = {}

{
  const config = await openid.discovery(url, clientId, secret, openid.ClientSecretBasic(secret), {
    algorithm: 'oauth2',
    execute: [openid.allowInsecureRequests],
  })
  const active = async () => (await openid.tokenIntrospection(config, first)).active
  const before = await active()
  await openid.tokenRevocation(config, first, { token_type_hint: 'access_token' })
  printed['openid-client'] = [before, await active()]
}

{
  const insecure = { [oauth.allowInsecureRequests]: true }
  const found = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure })
  const server = await oauth.processDiscoveryResponse(url, found)
  const client = { client_id: clientId }
  const authentication = oauth.ClientSecretPost(secret)
  const active = async () => {
    const response = await oauth.introspectionRequest(server, client, authentication, second, insecure)
    return (await oauth.processIntrospectionResponse(server, client, response)).active
  }
  const before = await active()
  // Whoever has a token may revoke it, without credentials.
  const revoked = await oauth.revocationRequest(server, client, oauth.None(), second, insecure)
  await oauth.processRevocationResponse(revoked)
  printed.oauth4webapi = [before, await active()]
}

console.log(JSON.stringify(printed))
