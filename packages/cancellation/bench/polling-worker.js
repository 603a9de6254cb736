// Polls in a loop that never yields, and says when it saw the flag.
import { parentPort, workerData } from 'node:worker_threads'
import { fromShared } from '@muster/cancellation/worker'

const { shared, ready } = workerData
const token = fromShared(shared)
Atomics.store(new Int32Array(ready), 0, 1)
let polls = 0
const begun = performance.now()
while (!token.cancelled) polls++
const at = performance.timeOrigin + performance.now()
parentPort.postMessage({ at, perPoll: ((performance.now() - begun) * 1e6) / polls })
