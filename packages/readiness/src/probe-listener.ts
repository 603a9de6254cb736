import { once } from 'node:events'
import { createServer } from 'node:http'
import { isVerbose, type Probe } from './probe-answers.ts'

export interface ProbeListener {
  readonly port: number
  close(): void
}

/** Serves the probes on a port of their own; rejects when it cannot be had. */
export async function listenForProbes(
  address: { port: number; host: string },
  probes: Map<string, Probe>,
  signal: AbortSignal
): Promise<ProbeListener> {
  const server = createServer(({ method = '', url = '', headers: { accept } }, response) => {
    const probe = probes.get(url.split('?')[0] ?? '')
    if (!probe) return void response.writeHead(404).end()
    if (method !== 'GET' && method !== 'HEAD') return void response.writeHead(405).end()
    const { status, headers, body } = probe(isVerbose(url, accept))
    response.writeHead(status, headers).end(body)
  })
  server.listen(address)
  try {
    await once(server, 'listening', { signal })
  } catch (error) {
    server.close()
    throw error
  }
  return {
    port: (server.address() as { port: number }).port,
    close() {
      server.close()
      server.closeAllConnections()
    }
  }
}
