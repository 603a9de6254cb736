// Clients on keep-alive connections through the proxy, which count what fails.
import { setMaxListeners } from 'node:events'
import { Agent, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

const TEXT = JSON.stringify({ text: 'x'.repeat(2_000) })

export function startLoad(port) {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity })
  const counts = { requests: 0, failed: 0, slow: 0, slowFailed: 0, streams: 0, streamsTold: 0 }
  const failures = {}
  let stopped = false
  const ending = new AbortController()
  setMaxListeners(0, ending.signal)
  const loops = [
    ...Array.from({ length: 40 }, (_, i) => quickLoop(i)),
    ...Array.from({ length: 6 }, slowLoop),
    ...Array.from({ length: 6 }, streamLoop)
  ]

  return {
    counts,
    failures,
    async stop() {
      stopped = true
      ending.abort()
      await Promise.all(loops)
      agent.destroy()
    }
  }

  async function quickLoop(i) {
    for (let n = i; !stopped; n++) {
      const outcome = await (n % 2 ? call('GET', '/quick') : call('POST', '/quick', TEXT))
      counts.requests += 1
      if (outcome !== 200) fail('failed', outcome)
    }
  }

  async function slowLoop() {
    // Out of step, so that some have just begun whenever an instance is told to go.
    await pause(Math.random() * 2_500)
    while (!stopped) {
      const outcome = await call('POST', '/slow', TEXT)
      counts.slow += 1
      if (outcome !== 200) fail('slowFailed', outcome)
    }
  }

  /** Counts the streams that the service ended; the last one of each loop is ended by us. */
  async function streamLoop() {
    while (!stopped) {
      const text = await stream()
      if (stopped) return
      counts.streams += 1
      if (/event: shutdown\n/.test(text)) counts.streamsTold += 1
    }
  }

  function fail(kind, outcome) {
    counts[kind] += 1
    failures[outcome] = (failures[outcome] ?? 0) + 1
  }

  function call(method, path, body) {
    return new Promise((resolve) => {
      const headers = body
        ? { 'content-type': 'application/json', 'content-length': body.length }
        : {}
      const sent = request({ port, host: '127.0.0.1', method, path, agent, headers }, (answer) => {
        answer.on('error', ({ code }) => resolve(code))
        answer.on('end', () => resolve(answer.statusCode))
        answer.resume()
      })
      sent.on('error', ({ code }) => resolve(code))
      sent.end(body)
    })
  }

  function stream() {
    return new Promise((resolve) => {
      let text = ''
      const options = {
        port,
        host: '127.0.0.1',
        path: '/stream',
        agent: false,
        signal: ending.signal
      }
      const sent = request(options, (answer) => {
        answer.setEncoding('utf8').on('data', (chunk) => (text += chunk))
        answer.on('close', () => resolve(text))
        answer.on('error', () => {})
      })
      sent.on('error', () => resolve(text))
      sent.end()
    })
  }
}
