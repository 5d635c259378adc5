import fs from 'node:fs'
import {check, client, digest, fails, input, write} from './lib.mjs'

const {DefaultArtifactClient} = await client()
const client_ = new DefaultArtifactClient()
const name = `model-${input('package')}-${input('size')}`
const big = write('out/big', Number(input('size')))
write('out/deep/er/small')
const files = ['out/big', 'out/deep/er/small'].map((f) => fs.realpathSync(f))
const made = await client_.uploadArtifact(name, files, fs.realpathSync('out'), {retentionDays: 3})
check(made.id > 0 && made.size > 0, 'it is made')
const list = (await client_.listArtifacts()).artifacts
check(list.some((a) => a.name === name && a.id === made.id), 'it is listed')
const {artifact} = await client_.getArtifact(name)
check(artifact.id === made.id, 'it is found')
const got = await client_.downloadArtifact(made.id, {path: 'got', expectedHash: made.digest && `sha256:${made.digest}`})
check(!got.digestMismatch, 'its digest holds')
check(digest('got/big') === big && fs.existsSync('got/deep/er/small'), 'it is whole')
await fails('a name is used once', () => client_.uploadArtifact(name, files, fs.realpathSync('out')))
await client_.deleteArtifact(name)
check(!(await client_.listArtifacts()).artifacts.some((a) => a.name === name), 'it is deleted')
const again = await client_.uploadArtifact(name, files, fs.realpathSync('out'))
check(again.id !== made.id, 'its name is free again')
const token = process.env.GITHUB_TOKEN
const [owner, repo] = process.env.GITHUB_REPOSITORY.split('/')
const findBy = {token, workflowRunId: Number(process.env.GITHUB_RUN_ID), repositoryOwner: owner, repositoryName: repo}
const other = (await client_.listArtifacts({findBy})).artifacts
check(other.some((a) => a.id === again.id), 'it is listed by the API')
await client_.downloadArtifact(again.id, {findBy, path: 'got2'})
check(digest('got2/big') === big, 'it is fetched by the API')
