import {createHash, randomBytes} from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

export const input = (name) => process.env[`INPUT_${name.toUpperCase()}`] || ''
export const client = async () => {
  const found = await import(input('package'))
  return found.default && Object.keys(found).length < 3 ? found.default : found
}
export const check = (holds, what) => {
  if (!holds) throw new Error(`does not hold: ${what}`)
  console.log(`holds: ${what}`)
}
export const digest = (file) => createHash('sha256').update(fs.readFileSync(file)).digest('hex')
export const write = (file, size) => {
  fs.mkdirSync(path.dirname(file), {recursive: true})
  fs.writeFileSync(file, size === undefined ? 'small\n' : randomBytes(size))
  return digest(file)
}
export const fails = async (what, call) => {
  try {
    await call()
  } catch (error) {
    console.log(`fails: ${what}: ${error.message}`)
    return
  }
  throw new Error(`does not fail: ${what}`)
}
