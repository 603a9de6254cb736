import { v } from '@muster/options'

/** What comes after `.ready.` in the name of a marker. */
export const partName = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/))
