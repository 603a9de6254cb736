export { fromShared } from './shared.ts'
export type { CancellationError, CancellationKind } from './errors.ts'
export type { Cancellation, SharedCancellation } from './token.ts'
