// Verifies the logout tokens on its standard input, one a line, with the keys that the issuer publishes, as a relying party does.
// Arguments: the URL of the keys, the issuer, and the client id. Prints how many were verified.
import { createInterface } from 'node:readline';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const [url, issuer, audience] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url));
const EVENT = 'http://schemas.openid.net/event/backchannel-logout';
let verified = 0;
for await (const token of createInterface({ input: process.stdin })) {
    const { payload } = await jwtVerify(token, keys, {
        issuer,
        audience,
        typ: 'logout+jwt',
        maxTokenAge: '2 minutes',
        requiredClaims: ['exp', 'jti', 'events'],
    });
    if (typeof payload.events[EVENT] !== 'object' || 'nonce' in payload || !(payload.sub || payload.sid)) {
        throw new Error(`not a logout token: ${JSON.stringify(payload)}`);
    }
    verified += 1;
}
console.log(verified);
