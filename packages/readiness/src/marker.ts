export {
  clearReady,
  declareReady,
  isReady,
  type Marker,
  type MarkerDeclaration,
  type MarkerLocation,
  type MarkerQuestion,
  readyPid
} from './ready-marker.ts'
export { watchReady, type WatchOptions } from './watch-ready.ts'
