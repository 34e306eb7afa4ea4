/**
 * A worker for Cloudflare: `GET /` greets the user of an access token, and `POST /logout` ends its session.
 *
 * One Durable Object has the revocations, and the workers ask it: a worker's request may not wait for a read that another one has started.
 * Settings: ADIEU_URL, ADIEU_CLIENT, ADIEU_SECRET (a secret of the worker), and the binding REVOCATIONS of the object.
 */

import { Blocklist, InvalidClaimsError, RevokedError, StaleError, assertGood } from '@adieu/client/edge';
import { DurableObject } from 'cloudflare:workers';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

/** @typedef {import('@adieu/client/edge').Claims} Claims */

/**
 * @typedef {object} Environment
 * @property {string} ADIEU_URL
 * @property {string} ADIEU_CLIENT
 * @property {string} ADIEU_SECRET
 * @property {{ getByName(name: string): Revocations }} REVOCATIONS
 */

/** The revocations. @extends {DurableObject<Environment>} */
export class Revocations extends DurableObject {
  #blocklist = new Blocklist({ url: this.env.ADIEU_URL, clientId: this.env.ADIEU_CLIENT, secret: this.env.ADIEU_SECRET });

  /** @param {Claims} claims @param {string} [kid] */
  verdict(claims, kid) {
    return this.#blocklist.verdict(claims, kid);
  }

  /** @param {Claims} claims */
  revoke(claims) {
    return this.#blocklist.revoke(claims);
  }
}

/** @type {ReturnType<typeof createRemoteJWKSet> | undefined} */
let keys;

export default {
  /** @param {Request} request @param {Environment} env */
  async fetch(request, env) {
    try {
      const token = /^Bearer +([^ ]+) *$/i.exec(request.headers.get('authorization') ?? '')?.[1] ?? '';
      keys ??= createRemoteJWKSet(new URL('/.well-known/jwks.json', env.ADIEU_URL));
      const verified = await jwtVerify(token, keys, { issuer: 'adieu', typ: 'at+jwt', algorithms: ['EdDSA'] });
      const owner = env.REVOCATIONS.getByName('adieu');
      await assertGood(owner, verified, { token });
      const { method } = request;
      const { pathname } = new URL(request.url);
      if (method === 'GET' && pathname === '/') return Response.json({ message: `Hello, ${verified.payload.sub}` });
      if (method !== 'POST' || pathname !== '/logout') return Response.json({ message: 'Not found.' }, { status: 404 });
      // The user is logged out only if this resolves.
      await owner.revoke(verified.payload);
      return Response.json({ message: 'Successfully logged out' });
    } catch (error) {
      const { status, headers, body } = refusal(error);
      return Response.json(body, { status, headers });
    }
  },
};

/** Returns the response for an error: 401 for a token that is not good, and 503 if that is not known. @param {unknown} error */
function refusal(error) {
  if (error instanceof InvalidClaimsError || error instanceof RevokedError) return error;
  const isBad = error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout) && error.code !== 'ERR_JOSE_GENERIC';
  return isBad ? new InvalidClaimsError() : new StaleError();
}
