import { connect } from 'node:net'

export interface LoadOptions {
  port: number
  /** How many requests in all. */
  requests: number
  /** The bytes of each request. */
  request: string
  /** How each response ends; it is not parsed, so that the client costs little beside the server. */
  responseEnd: string
  /** @default 20 */
  connections?: number
}

/** Sends requests over keep-alive connections to 127.0.0.1, one at a time on each. Resolves when all are answered. */
export async function keepAliveLoad(options: LoadOptions): Promise<void> {
  const { port, requests, request, responseEnd, connections = 20 } = options
  let left = requests
  await Promise.all(Array.from({ length: connections }, connection))

  function connection(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1')
      const next = () => (left-- > 0 ? socket.write(request) : socket.end())
      socket.on('connect', next)
      socket.on('data', (chunk: string) => {
        if (chunk.endsWith(responseEnd)) next()
      })
      socket.on('error', reject)
      socket.on('close', () => resolve())
    })
  }
}
