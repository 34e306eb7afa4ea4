/** What the example needs of Cloudflare's types; an application has `@cloudflare/workers-types`. */
declare module 'cloudflare:workers' {
  export class DurableObject<Environment> {
    constructor(state: unknown, env: Environment);
    protected env: Environment;
  }
}
