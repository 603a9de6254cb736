// 50 nodes that find each other by moleculer's Redis discoverer, with its own defaults.
import { ServiceBroker } from 'moleculer'

const [redis] = process.argv.slice(2)

for (let at = 0; at < 50; at++) {
  const broker = new ServiceBroker({
    nodeID: `i${at}`,
    logger: false,
    transporter: 'Fake',
    registry: { discoverer: { type: 'Redis', options: { redis } } }
  })
  await broker.start()
}
process.send('started')
