import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { keepAliveLoad } from '@muster/testkit'

const REQUEST = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'
const RESPONSE_END = '{"hello":"world"}'

/** Starts the benchmark server with `variant` and returns what talks to it. */
export async function startServer(variant, execArgv = []) {
  const child = fork(new URL('./server.js', import.meta.url), [variant], { execArgv })
  const [port] = await once(child, 'message')
  return {
    load: (requests) =>
      keepAliveLoad({ port, requests, request: REQUEST, responseEnd: RESPONSE_END }),
    hold: (count) => hold(port, count),
    async ask(question) {
      child.send(question)
      const [answer] = await once(child, 'message')
      return answer
    },
    stop: () => child.disconnect()
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
