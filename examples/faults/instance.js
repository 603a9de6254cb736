import { eventually, startFixture } from '@muster/testkit'
import { setTimeout as pause } from 'node:timers/promises'

/** Starts the service and says what its log has said. */
export function startInstance({ instance = 'one', orchestrator = '', redis, clock = 0 } = {}) {
  const fixture = startFixture(new URL('service.js', import.meta.url), {
    env: {
      INSTANCE: instance,
      ORCHESTRATOR: orchestrator,
      REDIS: redis ? JSON.stringify(redis) : '',
      CLOCK_OFFSET: String(clock)
    },
    execArgv: ['--unhandled-rejections=strict']
  })
  const log = () =>
    fixture.output.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []))

  return {
    fixture,
    /** Lines of at least that level: 30 info, 40 warn, 50 error. */
    said: (level, pattern = /./) =>
      log().filter((line) => line.level >= level && pattern.test(line.msg)),
    async url() {
      const [, url] = await fixture.waitFor(/Server listening at (http:[^"]+)/)
      await fixture.waitFor(/ready in|"state":"ready"/)
      return url
    },
    async end() {
      fixture.signal('SIGTERM')
      return fixture.exited
    }
  }
}

/** Asks for `/` until `stop()`, which says how many requests there were and how many failed. */
export function startTraffic(url) {
  const counts = { requests: 0, failed: 0 }
  let running = true
  const loop = (async () => {
    while (running) {
      const ok = await fetch(url).then(
        async (response) => (await response.text()) === 'served',
        () => false
      )
      counts.requests += 1
      if (!ok) counts.failed += 1
      await pause(10)
    }
  })()
  return {
    async stop() {
      running = false
      await loop
      return counts
    }
  }
}

/** ms until `condition` holds. */
export async function timeUntil(condition, deadline = 15_000) {
  const start = performance.now()
  await eventually(
    async () => {
      if (!(await condition())) throw new Error('it did not come to pass')
    },
    { deadline }
  )
  return Math.round(performance.now() - start)
}
