/** A query that PostgreSQL stops when the request is cancelled; told over another connection of the pool. */
export async function cancellableQuery(pool, cancellation, text, values) {
  const client = await pool.connect()
  let telling = Promise.resolve()
  const watching = cancellation.onCancel(() => {
    const told = pool.query('select pg_cancel_backend($1)', [client.processID])
    telling = told.catch(() => {})
  })
  try {
    return await client.query(text, values)
  } catch (error) {
    if (error.code === '57014') cancellation.throwIfCancelled() // query_canceled
    throw error
  } finally {
    watching[Symbol.dispose]()
    await telling // or it could hit the next query of this client
    client.release()
  }
}
