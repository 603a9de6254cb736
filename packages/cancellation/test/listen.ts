import type { AddressInfo } from 'node:net'

interface Listening {
  listen(options: { port: number; host: string }): Promise<string>
  server: { address(): AddressInfo | string | null }
}

/** Starts `app` on a free loopback port and returns the port. */
export async function listen(app: Listening): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}
