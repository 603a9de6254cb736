import { existsSync } from 'node:fs'
import type { Notifier } from './notifier.ts'

/**
 * All notifiers, where there may be somebody to tell; none where nothing hints at it. Most services are told of by
 * their probes alone, and shall not wait for the rest to be loaded.
 */
export async function presentNotifiers(): Promise<Notifier[]> {
  const { MUSTER_READY_DIR, RUNTIME_DIRECTORY, NOTIFY_SOCKET, LISTEN_FDNAMES } = process.env
  const byEnvironment = MUSTER_READY_DIR || RUNTIME_DIRECTORY || NOTIFY_SOCKET || LISTEN_FDNAMES
  if (!byEnvironment && !process.send && !existsSync('notification-fd')) return []
  const { clusterMember, markerFile, pm2, s6, systemd } = await import('./notify.ts')
  return [markerFile(), systemd(), s6(), pm2(), clusterMember()]
}
