import {check, client, fails} from './lib.mjs'

const github = await client()
const {context} = github
const octokit = github.getOctokit(process.env.GITHUB_TOKEN)
const rest = octokit.rest
const repo = context.repo
check((await rest.repos.get(repo)).data.full_name === `${repo.owner}/${repo.repo}`, 'the repository')
const sha = context.sha
check((await rest.repos.getCommit({...repo, ref: sha})).data.sha === sha, 'a commit')
const file = (await rest.repos.getContent({...repo, path: 'a.txt'})).data
check(Buffer.from(file.content, 'base64').toString() === 'hi\n', 'a file')
for (let i = 0; i < 45; i++) await rest.issues.createComment({...repo, issue_number: 1, body: `comment ${i}`})
const all = await octokit.paginate(rest.issues.listComments, {...repo, issue_number: 1})
check(all.length === 45, 'pages of comments')
const edited = await rest.issues.updateComment({...repo, comment_id: all[0].id, body: 'edited'})
check(edited.data.body === 'edited', 'an edited comment')
await rest.issues.addLabels({...repo, issue_number: 1, labels: ['ready']})
check((await rest.issues.listLabelsOnIssue({...repo, issue_number: 1})).data[0].name === 'ready', 'labels')
const made = (await rest.checks.create({...repo, name: 'lint', head_sha: sha})).data
await rest.checks.update({...repo, check_run_id: made.id, status: 'completed', conclusion: 'success'})
const release = (await rest.repos.createRelease({...repo, tag_name: 'v1'})).data
const data = Buffer.from('bytes of the model')
const asset = (await rest.repos.uploadReleaseAsset({...repo, release_id: release.id, name: 'model.bin', data, url: release.upload_url})).data
check(asset.size === data.length, 'an asset')
check((await rest.repos.getReleaseByTag({...repo, tag: 'v1'})).data.assets[0].name === 'model.bin', 'a release')
const got = await rest.repos.getReleaseAsset({...repo, asset_id: asset.id, headers: {accept: 'application/octet-stream'}})
check(Buffer.from(got.data).toString() === data.toString(), 'the bytes of an asset')
if (context.payload.pull_request) {
  const number = context.payload.pull_request.number
  const files = (await rest.pulls.listFiles({...repo, pull_number: number})).data
  check(files.some((f) => f.filename === 'b.txt' && f.status === 'added'), 'files of the pull request')
}
await fails('a milestone', () => rest.issues.listMilestones(repo))
await fails('another repository', () => rest.repos.get({owner: 'other', repo: 'thing'}))
await fails('a wrong token', () => github.getOctokit('ghs_wrong').rest.repos.get(repo))
