import { eventually, rawConnection, type RawConnection } from '@muster/testkit'

export interface StreamEvent {
  id: string
  event: string
  data: any
}

export interface EventStream {
  readonly connection: RawConnection
  readonly events: StreamEvent[]
  /** The first event of this name after those that were taken before. */
  readonly next: (event: string) => Promise<StreamEvent>
}

/** Reads an event stream from a bare socket. */
export async function eventStream(port: number, headers = ''): Promise<EventStream> {
  const connection = await rawConnection(port)
  connection.write(`GET /services/$events HTTP/1.1\r\nhost: a\r\n${headers}\r\n`)
  let taken = 0
  const stream: EventStream = {
    connection,
    get events() {
      return parse(dechunked(connection.received))
    },
    async next(name) {
      return eventually(() => {
        const { events } = stream
        const at = events.findIndex(({ event }, i) => i >= taken && event === name)
        const found = events[at]
        if (!found) throw new Error(`no ${name} in ${JSON.stringify(events.slice(taken))}`)
        taken = at + 1
        return found
      })
    }
  }
  return stream
}

function dechunked(received: string): string {
  let at = received.indexOf('\r\n\r\n') + 4
  let text = ''
  while (at > 3) {
    const lineEnd = received.indexOf('\r\n', at)
    const size = Number.parseInt(received.slice(at, lineEnd), 16)
    if (lineEnd < 0 || !size) break
    text += received.slice(lineEnd + 2, lineEnd + 2 + size)
    at = lineEnd + 2 + size + 2
  }
  return text
}

/** As a browser's EventSource does; an event without an end does not count. */
function parse(text: string): StreamEvent[] {
  return text
    .split('\n\n')
    .slice(0, -1)
    .map((block) => {
      const field = (name: string): string =>
        block
          .split('\n')
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
          .join('\n')
      return { id: field('id'), event: field('event'), data: field('data') }
    })
    .filter(({ event }) => event !== '')
    .map((event) => ({ ...event, data: JSON.parse(event.data) }))
}
