import fs from 'node:fs'
import {check, client, write} from './lib.mjs'

const tc = await client()
write('tool/bin/thing')
const place = await tc.cacheDir('tool', 'thing', '1.2.3')
check(tc.find('thing', '1.x') === place, 'a cached tool')
check(place.startsWith(process.env.RUNNER_TOOL_CACHE), 'the tool cache')
check(fs.existsSync(`${place}.complete`), 'its mark')
const url = `${process.env.GITHUB_API_URL}/repos/${process.env.GITHUB_REPOSITORY}/tarball/${process.env.GITHUB_SHA}`
const file = await tc.downloadTool(url, undefined, `token ${process.env.GITHUB_TOKEN}`)
const folder = await tc.extractTar(file)
check(fs.readdirSync(folder).length === 1, 'one folder at the top')
check(fs.existsSync(`${folder}/${fs.readdirSync(folder)[0]}/a.txt`), 'the files of the commit')
