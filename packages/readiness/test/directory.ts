import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** An empty directory, removed when the test is over. */
export function directory(mode = 0o755): string {
  const path = mkdtempSync(join(tmpdir(), 'muster-readiness-'))
  chmodSync(path, mode)
  onTestFinished(() => {
    chmodSync(path, 0o755)
    rmSync(path, { recursive: true })
  })
  return path
}
