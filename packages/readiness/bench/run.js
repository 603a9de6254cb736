// From listening to ready.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const ROUNDS = 25
const POLL = 500
const script = fileURLToPath(new URL('start.js', import.meta.url))

const one = { bare: [], readiness: [] }
const two = { bare: [], readiness: [] }
const polled = []
for (let round = 0; round < ROUNDS; round++) {
  for (const kind of Object.keys(one)) one[kind].push(await start(kind, 1))
  for (const kind of Object.keys(two)) two[kind].push(await start(kind, 2))
  polled.push(await start('bare', 1, seenByPoll))
}

const each = (samples, name) => samples.map((sample) => sample[name])
console.log(
  `listen() returned → known to be ready, no checks, a fresh process each, ${ROUNDS} rounds, in ms`
)
console.table([
  row('1 address: @muster/readiness', each(one.readiness, 'ready'), 'p50 ≤ 15, p95 ≤ 40'),
  row('2 addresses: @muster/readiness', each(two.readiness, 'ready'), 'p50 ≤ 15, p95 ≤ 40'),
  row('the same from when the port was bound, 1', each(one.readiness, 'readySinceBound')),
  row('the same from when the port was bound, 2', each(two.readiness, 'readySinceBound')),
  row(`baseline: connect every ${POLL} ms`, polled),
  row('for scale: listen() itself, bare, 1 address', each(one.bare, 'listen')),
  row('for scale: listen() itself, bare, 2 addresses', each(two.bare, 'listen'))
])

/** Starts one service in a process of its own and returns its report, or what `look` finds out about it. */
async function start(kind, addresses, look = (report) => report) {
  const child = fork(script, [kind, `${addresses}`], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc']
  })
  const [report] = await once(child, 'message')
  const found = await look(report)
  child.send('end')
  await once(child, 'exit')
  return found
}

/** How long somebody who looks now and then takes to see that the port is open; the first look comes at random. */
async function seenByPoll({ port }) {
  const begun = performance.now()
  await pause(Math.random() * POLL)
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
  return performance.now() - begun
}

function row(what, values, limit) {
  const sorted = values.toSorted((a, b) => a - b)
  const p95 = sorted[Math.floor(sorted.length * 0.95)]
  return {
    what,
    p50: fixed(median(values)),
    p95: fixed(p95),
    ...(limit ? { 'must be': limit } : {})
  }
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

function fixed(ms) {
  return Math.round(ms * 10) / 10
}
