// 50 nodes that find each other by moleculer's Redis discoverer, with its own defaults.
import { ServiceBroker } from 'moleculer'

const [redis] = process.argv.slice(2)

const nodes = Array.from({ length: 50 }, (_, at) =>
  new ServiceBroker({
    nodeID: `i${at}`,
    logger: false,
    transporter: 'Fake',
    registry: { discoverer: { type: 'Redis', options: { redis } } }
  }).start()
)
await Promise.race([Promise.all(nodes), new Promise((resolve) => setTimeout(resolve, 30_000))])
process.send('started')
