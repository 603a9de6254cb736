import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'

const REQUEST = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'
const RESPONSE_END = '{"hello":"world"}'

/** Starts the benchmark server with `variant` and returns what talks to it. */
export async function startServer(variant, execArgv = []) {
  const child = fork(new URL('./server.js', import.meta.url), [variant], { execArgv })
  const [port] = await once(child, 'message')
  const ask = async (question) => {
    child.send(question)
    const [answer] = await once(child, 'message')
    return answer
  }
  return {
    variant,
    load: (count) => load(port, count),
    heap: () => ask('heap'),
    async cpu() {
      const { user, system } = await ask('cpu')
      return user + system
    },
    stop: () => child.send('stop')
  }
}

/** Sends `count` requests over 20 keep-alive connections, one at a time on each. */
export async function load(port, count) {
  let left = count
  await Promise.all(Array.from({ length: 20 }, () => connection()))

  function connection() {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1').setNoDelay()
      const next = () => (left-- > 0 ? socket.write(REQUEST) : socket.end())
      socket.setEncoding('latin1')
      socket.on('connect', next)
      socket.on('data', (chunk) => {
        if (chunk.endsWith(RESPONSE_END)) next()
      })
      socket.on('error', reject)
      socket.on('close', resolve)
    })
  }
}
