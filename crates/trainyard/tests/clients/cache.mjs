import fs from 'node:fs'
import {check, client, digest, fails, input, write} from './lib.mjs'

const cache = await client()
const key = `${input('package')}-${process.env.GITHUB_RUN_ID}-${input('size')}`
const big = write('kept/big', Number(input('size')))
write('kept/sub/small')
check(cache.isFeatureAvailable(), 'the cache is there')
check((await cache.restoreCache(['kept'], key)) === undefined, 'a miss is a miss')
check((await cache.saveCache(['kept'], key)) > 0, 'it is saved')
fs.rmSync('kept', {recursive: true})
check((await cache.restoreCache(['kept'], key)) === key, 'it is found')
check(digest('kept/big') === big && fs.existsSync('kept/sub/small'), 'it is whole')
fs.rmSync('kept', {recursive: true})
const near = await cache.restoreCache(['kept'], 'nothing', [`${input('package')}-`])
check(near === key && digest('kept/big') === big, 'it is found by the beginning of its key')
const looked = await cache.restoreCache(['kept'], key, [], {lookupOnly: true})
check(looked === key, 'it is found without being fetched')
// A taken key is a remark, not a failure.
check((await cache.saveCache(['kept'], key)) <= 0, 'a key is saved once')
await fails('a key of 513 characters', () => cache.saveCache(['kept'], 'k'.repeat(513)))
