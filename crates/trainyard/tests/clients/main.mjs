// Runs one of the scripts beside the installed clients.
import {pathToFileURL} from 'node:url'
await import(pathToFileURL(`${process.env.CLIENTS}/${process.env.INPUT_SCRIPT}.mjs`))
