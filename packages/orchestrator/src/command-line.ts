import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { UsageError } from './errors.ts'

const HELP = `Keeps the list of live services: an orchestrator of the registration protocol.

Usage: muster-orchestrator [options]

  --port <number>        where to listen; 0: any free port (default: 8000)
  --host <address>       where to listen; 0.0.0.0: every interface (default: 127.0.0.1)
  --redis <url>          keep the registrations in this Redis, shared with other orchestrators (default: memory)
  --namespace <name>     what shares registrations in one Redis (default: orchestrator)
  --ttl <ms>             how long a registration lives without a ping (default: 30000)
  --key-file <path>      one key a line, any of which a client must send to register
  --read-key-file <path> one key a line, any of which a reader must send
  --prefix <path>        where the routes are (default: /services)
  --log-level <level>    fatal, error, warn, info, debug, trace, silent (default: info)
  --help                 show this
  --version              show the version

Exits with 0 after SIGTERM or SIGINT, 1 when it failed or had to cut a request, 2 when it was called wrongly.
`

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

export interface Settings {
  port: number
  host: string
  redis: string | undefined
  namespace: string
  ttl: number
  key: string[]
  readKey: string[]
  prefix: string
  logLevel: string
}

/**
 * @returns what to do, or the text to print instead
 * @throws MUSTER_ERR_USAGE
 */
export function readCommandLine(args: string[]): Settings | string {
  const { values } = parse(args)
  if (values.help) return HELP
  if (values.version) return `${version()}\n`
  if (!LEVELS.includes(values['log-level'])) {
    throw new UsageError(`--log-level: expected one of ${LEVELS.join(', ')}`)
  }
  return {
    port: wholeNumber('--port', values.port, 0, 65_535),
    host: values.host,
    redis: values.redis,
    namespace: values.namespace,
    ttl: wholeNumber('--ttl', values.ttl, 1_000, 2 ** 31 - 1),
    key: readKeys('--key-file', values['key-file']),
    readKey: readKeys('--read-key-file', values['read-key-file']),
    prefix: values.prefix,
    logLevel: values['log-level']
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        port: { type: 'string', default: '8000' },
        host: { type: 'string', default: '127.0.0.1' },
        redis: { type: 'string' },
        namespace: { type: 'string', default: 'orchestrator' },
        ttl: { type: 'string', default: '30000' },
        'key-file': { type: 'string' },
        'read-key-file': { type: 'string' },
        prefix: { type: 'string', default: '/services' },
        'log-level': { type: 'string', default: 'info' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' }
      }
    })
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause })
  }
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN
  if (number >= least && number <= most) return number
  throw new UsageError(`${option}: expected a whole number from ${least} to ${most}, not ${text}`)
}

function readKeys(option: string, path: string | undefined): string[] {
  if (path === undefined) return []
  const keys = readText(option, path)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
  if (keys.length > 0) return keys
  throw new UsageError(`${option}: there is no key in ${path}`)
}

function readText(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new UsageError(`${option}: ${(cause as Error).message}`, { cause })
  }
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
}
