// What goes wrong in the field, done on purpose, many times at random instants: what must hold, and whether it did.
// node run.js [--long] [--seed 123] [--only redis]
import { seededRandom } from '@muster/testkit'
import { parseArgs } from 'node:util'
import * as beats from './rows/beats.js'
import * as clocks from './rows/clocks.js'
import * as kills from './rows/kills.js'
import * as orchestrators from './rows/orchestrators.js'
import * as redis from './rows/redis.js'
import * as sigterm from './rows/sigterm.js'

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    seed: { type: 'string' },
    only: { type: 'string' }
  }
})
const seed = Number(values.seed ?? Date.now() % 1_000_000)
const rows = Object.entries({ sigterm, kills, redis, orchestrators, beats, clocks })

console.log(`seed ${seed}; repeat with --seed ${seed}\n`)
let broken = 0
for (const [name, { run }] of rows) {
  if (values.only && values.only !== name) continue
  for await (const { fault, held, result } of run({
    long: values.long,
    random: seededRandom(seed)
  })) {
    if (!held) broken += 1
    console.log(`${held ? 'held  ' : 'BROKEN'}  ${fault}: ${result}`)
  }
}
console.log(broken === 0 ? '\nEverything held.' : `\n${broken} did not hold (seed ${seed}).`)
process.exit(broken === 0 ? 0 : 1)
