// As most backends start: `prisma migrate deploy`, and only if that succeeds, HTTP.
const { spawn } = require('node:child_process')
const http = require('node:http')
const { Client } = require('pg')

const QUERY = `
  SELECT (SELECT count(*)::int FROM momentum._prisma_migrations WHERE finished_at IS NOT NULL) AS applied,
         (SELECT count(*)::int FROM momentum.mm_board) AS boards`

async function answer(_request, response) {
  const url = new URL(process.env.DATABASE_URL)
  url.search = '' // the driver knows none of Prisma's parameters
  const client = new Client({ connectionString: url.href })
  client.on('error', () => {}) // the server may go away in between; the query below says so
  try {
    await client.connect()
    const { rows } = await client.query(QUERY)
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(rows[0]))
  } catch (error) {
    response.writeHead(503).end(error.message)
  } finally {
    await client.end().catch(() => {})
  }
}

const prisma = ['node_modules/prisma/build/index.js', 'migrate', 'deploy']
const deploy = spawn(process.execPath, prisma, { stdio: 'inherit' })
deploy.on('exit', (code) => {
  if (code !== 0) process.exit(code ?? 1)
  const server = http.createServer(answer).listen(3000, () => console.log('listening on 3000'))
  process.on('SIGTERM', () => server.close(() => process.exit(0)))
})
