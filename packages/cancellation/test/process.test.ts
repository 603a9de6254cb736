import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { eventually, startFixture } from '@muster/testkit'
import { expect, test } from 'vitest'

const GRACE = 3_000
const LAST_REPLIES = 300

const MIX = {
  '/polling': 500,
  '/fetching': 500,
  '/streaming': 500,
  '/worker': 1,
  '/deaf-worker': 1,
  '/deaf': 478,
  '/deaf-for-ever': 20
}
const TOTAL = Object.values(MIX).reduce((sum, count) => sum + count)

/** All that comes back on a connection for one POST with a body. */
function post(port: number, path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1').setEncoding('utf8')
    let received = ''
    socket.on('data', (chunk) => (received += chunk))
    socket.on('error', () => {})
    socket.on('close', () => resolve(received))
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi`
    )
  })
}

test(
  'SIGTERM with 2,000 requests of all kinds: each ends as it should, within the budget',
  {
    timeout: 60_000
  },
  async () => {
    expect(TOTAL).toBe(2_000)
    const upstream = createServer(() => {}).listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const fixture = startFixture(new URL('./fixtures/busy-service.js', import.meta.url), {
      env: {
        GRACE: `${GRACE}`,
        UPSTREAM: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
      }
    })
    const port = Number((await fixture.waitFor(/listening on (\d+)/))[1])
    const answers = Object.entries(MIX).flatMap(([path, count]) =>
      Array.from({ length: count }, async () => ({ path, answer: await post(port, path) }))
    )
    await eventually(
      async () => {
        fixture.child.send('arrived?')
        const [arrived] = await once(fixture.child, 'message')
        expect(arrived).toBe(TOTAL)
      },
      { deadline: 30_000, every: 50 }
    )
    fixture.signal('SIGTERM')

    const outcomes: Record<string, Record<string, number>> = {}
    for (const { path, answer } of await Promise.all(answers)) {
      const route = (outcomes[path] ??= {})
      const outcome = outcomeOf(answer)
      route[outcome] = (route[outcome] ?? 0) + 1
    }
    expect(outcomes).toEqual({
      '/polling': { '503 MUSTER_ERR_SHUTDOWN': 500 },
      '/fetching': { '503 MUSTER_ERR_SHUTDOWN': 500 },
      '/streaming': { '200 with a last record': 500 },
      '/worker': { '503 MUSTER_ERR_SHUTDOWN': 1 },
      '/deaf-worker': { '503 MUSTER_ERR_SHUTDOWN': 1 },
      '/deaf': { '200 done': 478 },
      '/deaf-for-ever': { cut: 20 }
    })

    const { took, ...report } = JSON.parse((await fixture.waitFor(/report (.*)\n/))[1]!)
    expect(report).toEqual({
      '/polling': { arrived: 500, 503: 500 },
      '/fetching': { arrived: 500, 503: 500 },
      '/streaming': { arrived: 500, 200: 500 },
      '/worker': { arrived: 1, 503: 1 },
      '/deaf-worker': { arrived: 1, 503: 1 },
      '/deaf': { arrived: 478, 200: 478 },
      '/deaf-for-ever': { arrived: 20 }
    })
    expect(took).toBeLessThan(GRACE + LAST_REPLIES + 1_500)
    expect((await fixture.exited).code).toBe(0)
    upstream.closeAllConnections()
    upstream.close()
  }
)

function outcomeOf(answer: string): string {
  if (answer === '') return 'cut'
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  const status = head.split(' ')[1] ?? ''
  const ended = answer.endsWith('0\r\n\r\n')
  if (status === '200' && answer.includes('"code":"MUSTER_ERR_SHUTDOWN"') && ended) {
    return '200 with a last record'
  }
  if (status === '200') return `200 ${body}`
  return `${status} ${JSON.parse(body).code}`
}
