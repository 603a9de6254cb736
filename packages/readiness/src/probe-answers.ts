import type { ServiceReadiness } from './service-readiness.ts'

export interface ProbePaths {
  live: string
  ready: string
  startup: string
}

export interface ProbeAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

/** @param verbose the report instead of a word */
export type Probe = (verbose: boolean) => ProbeAnswer

/** The probes by path. */
export function createProbes(
  paths: ProbePaths,
  readiness: Pick<ServiceReadiness, 'machine' | 'report'>
): Map<string, Probe> {
  const { machine } = readiness
  return new Map([
    [paths.live, answer(() => true, 'live')],
    [paths.ready, answer(() => machine.state === 'ready')],
    [paths.startup, answer(() => machine.started)]
  ])

  function answer(passes: () => boolean, word?: string): Probe {
    return (verbose) => {
      const pass = passes()
      const [type, body] = verbose
        ? [
            'application/health+json',
            JSON.stringify({ status: pass ? 'pass' : 'fail', ...readiness.report() })
          ]
        : ['text/plain; charset=utf-8', word ?? machine.state]
      return {
        status: pass ? 200 : 503,
        headers: { 'content-type': type, 'cache-control': 'no-store' },
        body
      }
    }
  }
}

/** `?verbose`, or `accept: application/health+json` (draft-inadarei-api-health-check). */
export function isVerbose(url = '', accept = ''): boolean {
  return /[?&]verbose\b/.test(url) || accept.includes('application/health+json')
}
