/** A service and clients of the library gRPC for Node: texts as messages, with calls of all four kinds. */

import { promisify } from 'node:util';

import grpc from '@grpc/grpc-js';

/** Longer than any call takes. */
const DEADLINE = 15_000;

const serialize = (/** @type {string} */ text) => Buffer.from(text);
const deserialize = (/** @type {Buffer} */ bytes) => bytes.toString();

/** A method. @param {string} name @param {boolean} requestStream @param {boolean} responseStream */
function method(name, requestStream, responseStream) {
  const coding = { requestSerialize: serialize, requestDeserialize: deserialize, responseSerialize: serialize, responseDeserialize: deserialize };
  return { path: `/shop.Orders/${name}`, requestStream, responseStream, ...coding };
}

const ORDERS = { Get: method('Get', false, false), List: method('List', false, true), Add: method('Add', true, false), Chat: method('Chat', true, true) };

/**
 * A service that stores the headers of the calls that it gets.
 * @typedef {{ port: number, seen: Record<string, string[]>[] }} GrpcService
 */

/** Starts the service. @param {import('node:test').TestContext} t @returns {Promise<GrpcService>} */
export async function startGrpc(t) {
  const server = new grpc.Server();
  /** @type {Record<string, string[]>[]} */
  const seen = [];
  const store = (/** @type {{ metadata: grpc.Metadata }} */ { metadata }) => {
    const names = Object.keys(metadata.getMap());
    seen.push(Object.fromEntries(names.map((name) => [name, metadata.get(name).map(String)])));
  };
  server.addService(ORDERS, {
    /** @param {grpc.ServerUnaryCall<string, string>} call @param {grpc.sendUnaryData<string>} answer */
    Get: (call, answer) => {
      store(call);
      if (call.request !== 'missing') answer(null, `got ${call.request}`);
      else answer({ code: grpc.status.NOT_FOUND, details: 'no such order' });
    },
    /** @param {grpc.ServerWritableStream<string, string>} call */
    List: (call) => {
      store(call);
      for (const part of call.request) call.write(part);
      call.end();
    },
    /** @param {grpc.ServerReadableStream<string, string>} call @param {grpc.sendUnaryData<string>} answer */
    Add: async (call, answer) => {
      store(call);
      let all = '';
      for await (const part of call) all += part;
      answer(null, all);
    },
    /** @param {grpc.ServerDuplexStream<string, string>} call */
    Chat: (call) => {
      store(call);
      call.on('data', (text) => call.write(`re: ${text}`));
      call.on('end', () => call.end());
    },
  });
  t.after(() => server.forceShutdown());
  const port = await promisify(server.bindAsync.bind(server))('127.0.0.1:0', grpc.ServerCredentials.createInsecure());
  return { port, seen };
}

/** What a call ended with: its messages, or the name of its status. @typedef {string[] | string} Outcome */

/**
 * Makes calls of all kinds, or only the first, and returns the outcomes.
 * @param {number} port
 * @param {{ token?: string | undefined, ca?: string | undefined, count?: number }} [options]
 * @returns {Promise<Record<string, Outcome>>}
 */
export async function callEach(port, { token, ca, count } = {}) {
  const credentials = ca === undefined ? grpc.credentials.createInsecure() : grpc.credentials.createSsl(Buffer.from(ca));
  const client = new grpc.Client(`127.0.0.1:${port}`, credentials, {
    // A pool of all clients would share the connections of earlier ones.
    'grpc.use_local_subchannel_pool': 1,
    // An address cannot be the name in a handshake (RFC 6066 §3).
    ...(ca && { 'grpc.ssl_target_name_override': 'localhost' }),
  });
  const metadata = new grpc.Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  metadata.set('x-adieu-subject', 'root');
  const options = { deadline: Date.now() + DEADLINE };
  /** @type {Record<string, () => Promise<string[]>>} */
  const calls = {
    unary: () => one((done) => client.makeUnaryRequest(ORDERS.Get.path, serialize, deserialize, '7', metadata, options, done)),
    "the service's own error": () =>
      one((done) => client.makeUnaryRequest(ORDERS.Get.path, serialize, deserialize, 'missing', metadata, options, done)),
    'a stream from the service': async () => {
      const messages = [];
      for await (const text of client.makeServerStreamRequest(ORDERS.List.path, serialize, deserialize, 'abc', metadata, options)) messages.push(text);
      return messages;
    },
    'a stream from the client': () =>
      one((done) => {
        const call = client.makeClientStreamRequest(ORDERS.Add.path, serialize, deserialize, metadata, options, done);
        for (const part of 'abc') call.write(part);
        call.end();
      }),
    'streams in both directions': async () => {
      const call = client.makeBidiStreamRequest(ORDERS.Chat.path, serialize, deserialize, metadata, options);
      const messages = [];
      const left = ['two', 'three'];
      call.write('one');
      for await (const text of call) {
        messages.push(text);
        // Each is sent once the previous one was answered.
        const next = left.shift();
        if (next === undefined) call.end();
        else call.write(next);
      }
      return messages;
    },
  };
  /** @type {Record<string, Outcome>} */
  const outcomes = {};
  for (const [kind, call] of Object.entries(calls).slice(0, count)) {
    outcomes[kind] = await call().catch((error) => grpc.status[error.code] ?? String(error));
  }
  client.close();
  return outcomes;
}

/** The answer to a call. @param {(done: grpc.requestCallback<string>) => void} call @returns {Promise<string[]>} */
function one(call) {
  return new Promise((resolve, reject) => call((error, text) => (error ? reject(error) : resolve([text ?? '']))));
}

/** The outcomes of calls that pass. */
export const PASSED = {
  unary: ['got 7'],
  "the service's own error": 'NOT_FOUND',
  'a stream from the service': ['a', 'b', 'c'],
  'a stream from the client': ['abc'],
  'streams in both directions': ['re: one', 're: two', 're: three'],
};
