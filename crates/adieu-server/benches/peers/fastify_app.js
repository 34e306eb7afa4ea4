// @fastify/jwt, with a lookup in Redis by `trusted`, as its documentation describes it.

import jwt from '@fastify/jwt';
import Fastify from 'fastify';
import Redis from 'ioredis';

const { PORT, SECRET, REDIS_URL, PIPELINING } = process.env;
const redis = new Redis(REDIS_URL, { enableAutoPipelining: PIPELINING === 'yes' });
const app = Fastify();
await app.register(jwt, {
  secret: SECRET,
  trusted: async (_request, token) => (await redis.exists(token.jti)) === 0,
});
app.get('/verify', { onRequest: (request) => request.jwtVerify() }, (_request, reply) => reply.code(204).send());
await app.listen({ host: '127.0.0.1', port: Number(PORT) });
