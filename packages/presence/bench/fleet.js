// What a whole fleet costs Redis, each instance announcing itself and watching all the others.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { crowdedRedis, round, serverCpu } from './figures.js'

const SETTLE = 8_000
const MEASURE = 25_000

export async function fleet() {
  const rows = []
  for (const kind of ['moleculer', 'muster']) {
    const server = await crowdedRedis(1_000_000)
    const child = fork(new URL(`fleet-${kind}.js`, import.meta.url), [server.url], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc']
    })
    await once(child, 'message')
    await pause(SETTLE)
    const before = await serverCpu(server)
    await pause(MEASURE)
    const used = (await serverCpu(server)) - before
    rows.push({ fleet: kind, 'Redis CPU, % of a core': round((used * 1e5) / MEASURE) })
    child.kill('SIGKILL')
    await once(child, 'exit')
    await server.close()
  }
  rows[1]['may be'] = '≤ 0.6'
  console.log(`50 instances, each watching all, beside 1,000,000 keys, for ${MEASURE / 1_000} s`)
  console.table(rows)
}
