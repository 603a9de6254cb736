// `node bench/run.js` runs all, `node bench/run.js heartbeat crash` those named.
import { crash } from './crash.js'
import { fleet } from './fleet.js'
import { heartbeat } from './heartbeat.js'
import { listing } from './listing.js'
import { watcher } from './watcher.js'

const all = { listing, heartbeat, crash, fleet, watcher }
const named = process.argv.slice(2)
for (const [name, bench] of Object.entries(all)) {
  if (named.length === 0 || named.includes(name)) await bench()
}
