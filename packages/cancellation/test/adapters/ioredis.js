/** A blocking command on a connection of its own, which is closed when the request is cancelled. */
export async function blocking(redis, cancellation, command) {
  const connection = redis.duplicate({ lazyConnect: true, maxRetriesPerRequest: null })
  const watching = cancellation.onCancel(() => connection.disconnect())
  try {
    return await command(connection)
  } catch (error) {
    cancellation.throwIfCancelled()
    throw error
  } finally {
    watching[Symbol.dispose]()
    connection.disconnect()
  }
}
