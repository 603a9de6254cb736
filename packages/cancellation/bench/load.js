import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'

const REQUEST = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'
const RESPONSE_END = '{"hello":"world"}'
const CONNECTIONS = 20

/** Starts the benchmark server with `variant` and returns what talks to it. */
export async function startServer(variant, execArgv = []) {
  const child = fork(new URL('./server.js', import.meta.url), [variant], { execArgv })
  const [port] = await once(child, 'message')
  return {
    load: (count) => load(port, count),
    hold: (count) => hold(port, count),
    async ask(question) {
      child.send(question)
      const [answer] = await once(child, 'message')
      return answer
    },
    stop: () => child.disconnect()
  }
}

/** Sends `count` requests over 20 keep-alive connections, one at a time on each. */
export async function load(port, count) {
  let left = count
  await Promise.all(Array.from({ length: CONNECTIONS }, () => connection()))

  function connection() {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1')
      const next = () => (left-- > 0 ? socket.write(REQUEST) : socket.end())
      socket.on('connect', next)
      socket.on('data', (chunk) => {
        if (chunk.endsWith(RESPONSE_END)) next()
      })
      socket.on('error', reject)
      socket.on('close', resolve)
    })
  }
}

/** Sends `count` requests that are not answered, each on a connection of its own; returns what closes them. */
async function hold(port, count) {
  const sockets = []
  for (let i = 0; i < count; i++) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    sockets.push(socket)
    socket.write(REQUEST)
    if (i % 250 === 0) await once(socket, 'connect')
  }
  return () => {
    for (const socket of sockets) socket.destroy()
  }
}
