// Stands for a slow service: it answers after five seconds, and says so when its caller does not wait.
import { createServer } from 'node:http'

const SLOWNESS = 5_000

export async function startUpstream() {
  const server = createServer((request, response) => {
    const { 'x-request-timeout-ms': remaining } = request.headers
    console.log(`upstream: ${request.url} begins, ${String(remaining)} ms left`)
    const timer = setTimeout(() => response.end('slow answer'), SLOWNESS)
    response.on('close', () => {
      clearTimeout(timer)
      if (!response.writableEnded) console.log(`upstream: ${request.url} stopped`)
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.close()
      server.closeAllConnections()
    }
  }
}
