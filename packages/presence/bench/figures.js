import { startRedis } from '@muster/testkit'

/** A Redis that is full of what others keep there. */
export async function crowdedRedis(keys) {
  const server = await startRedis({ args: ['--enable-debug-command', 'yes'] })
  for (let left = keys, part = 0; left > 0; left -= 250_000, part++) {
    await server.command(`DEBUG POPULATE ${Math.min(left, 250_000)} other:${part} 16`)
  }
  return server
}

/** Seconds of CPU that the server has used. */
export async function serverCpu(server) {
  const info = await server.command('INFO cpu')
  return ['used_cpu_sys', 'used_cpu_user'].reduce(
    (sum, name) => sum + Number(new RegExp(`${name}:([\\d.]+)`).exec(info)[1]),
    0
  )
}

export function median(values) {
  return quantile(values, 0.5)
}

export function quantile(values, share) {
  return values.toSorted((one, other) => one - other)[
    Math.min(values.length - 1, Math.floor(values.length * share))
  ]
}

export function round(value, digits = 2) {
  return Number(value.toFixed(digits))
}

export function record(at) {
  return {
    status: 'ready',
    url: `http://10.0.${at >> 8}.${at & 255}:3000`,
    startedAt: new Date().toISOString(),
    pid: at,
    hostname: `host-${at}`,
    version: '1.0.0',
    metadata: { zone: 'a' },
    accepts: []
  }
}
