/** A proxy between a service and its node, which simulates a bad network. */

import { once } from 'node:events';
import net from 'node:net';

/** @typedef {'pass' | 'cut' | 'freeze'} Mode `freeze`: connections stay open, and nothing gets through */

export class Proxy {
  /** The port that it forwards to. */
  target;
  /** The delay of responses, in milliseconds. */
  delay = 0;
  /** The number of connections. */
  connections = 0;
  /** The number of forwarded responses. */
  answers = 0;
  /** @type {Mode} */
  #mode = 'pass';
  /** @type {Set<net.Socket>} */
  #sockets = new Set();
  #server;

  /**
   * @param {import('node:test').TestContext} t
   * @param {number} target
   */
  static async start(t, target) {
    const proxy = new Proxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    t.after(() => proxy.#end());
    return proxy;
  }

  /** @param {number} target */
  constructor(target) {
    this.target = target;
    this.#server = net.createServer((client) => this.#accept(client));
  }

  get url() {
    const { port } = /** @type {net.AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${port}`;
  }

  get mode() {
    return this.#mode;
  }

  set mode(mode) {
    this.#mode = mode;
    // Frozen bytes are dropped: they would be too late in any case.
    for (const socket of this.#sockets) if (mode !== 'freeze') socket.destroy();
  }

  /** Forwards new connections, and keeps the frozen ones frozen. */
  passNew() {
    for (const socket of this.#sockets) socket.removeAllListeners('data').removeAllListeners('close').resume();
    this.#mode = 'pass';
  }

  /** @param {net.Socket} client */
  #accept(client) {
    this.connections += 1;
    this.#keep(client);
    if (this.#mode === 'cut') {
      client.destroy();
      return;
    }
    const node = net.connect(this.target, '127.0.0.1');
    this.#keep(node);
    client.on('data', (bytes) => {
      if (this.#mode === 'pass') node.write(bytes);
    });
    node.on('data', (bytes) => {
      const pass = () => {
        if (this.#mode !== 'pass' || client.destroyed) return;
        this.answers += 1;
        client.write(bytes);
      };
      if (this.delay > 0) setTimeout(pass, this.delay);
      else pass();
    });
    client.on('close', () => node.destroy());
    node.on('close', () => {
      if (this.#mode !== 'freeze') setTimeout(() => client.destroy(), this.delay);
    });
  }

  /** @param {net.Socket} socket */
  #keep(socket) {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #end() {
    this.mode = 'cut';
    this.#server.close();
  }
}
