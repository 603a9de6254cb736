// Counts primes without ever yielding, and looks every now and then whether anybody still wants to know.
import { parentPort, workerData } from 'node:worker_threads'
import { fromShared } from '@muster/cancellation/worker'

const { upTo } = workerData
const cancellation = fromShared(workerData.cancellation)

let count = 0
for (let n = 2; n <= upTo; n++) {
  if (n % 1_000 === 0) cancellation.throwIfCancelled()
  if (isPrime(n)) count++
}
parentPort.postMessage({ upTo, count })

function isPrime(n) {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false
  return true
}
