// What it costs a service to watch 10,000 instances that beat.
import { redisLeases } from '@muster/leases'
import { startRedis } from '@muster/testkit'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { record, round } from './figures.js'

const INSTANCES = 10_000
const MEASURE = 15_000

export async function watcher() {
  const server = await startRedis()
  const leases = redisLeases({
    redis: server.url,
    namespace: 'default',
    ttl: 15_000,
    timeout: 10_000
  })
  const keys = Array.from({ length: INSTANCES }, (_, at) => ({
    service: `s${at % 10}`,
    id: `i${at}`,
    incarnation: 'one'
  }))
  await inTurns(keys, (key, at) => leases.put(key, record(at)))
  let beating = true
  const beats = (async () => {
    while (beating) {
      const start = performance.now()
      await inTurns(keys, (key) => leases.renew(key))
      await pause(Math.max(0, 5_000 - (performance.now() - start)))
    }
  })()

  const child = fork(new URL('watcher-child.js', import.meta.url), [server.url], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc']
  })
  const [{ instances, heap }] = await once(child, 'message')
  await pause(1_000)
  child.send('begin')
  await pause(MEASURE)
  child.send('end')
  const [{ cpu, heapAfter, rss }] = await once(child, 'message')
  child.kill('SIGKILL')
  await once(child, 'exit')
  beating = false
  await beats
  await leases.close()
  await server.close()
  console.log(`One service that watches ${instances} instances, each beating every 5 s`)
  console.table([
    {
      'heap, MB': round(heapAfter / 1e6, 1),
      'of it for the view': round((heapAfter - heap) / 1e6, 1),
      'may be': '≤ 60',
      'whole process, MB': round(rss / 1e6, 0),
      'CPU, % of a core': round((cpu / MEASURE) * 0.1),
      'may be too': '≤ 2'
    }
  ])
}

async function inTurns(items, work) {
  for (let at = 0; at < items.length; at += 200) {
    await Promise.all(items.slice(at, at + 200).map((item, index) => work(item, at + index)))
  }
}
