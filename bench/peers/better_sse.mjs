// better-sse, as its documentation has it: a channel that broadcasts to its sessions.
import http from "node:http"
import { createChannel, createSession } from "better-sse"

const channels = new Map()
const [port] = process.argv.slice(2)

function channel(name) {
  if (!channels.has(name)) channels.set(name, createChannel())
  return channels.get(name)
}

const server = http.createServer(async (request, response) => {
  const name = new URL(request.url, "http://localhost").searchParams.get("channel")
  if (request.method === "GET") {
    channel(name).register(await createSession(request, response))
    return
  }
  let data = ""
  request.on("data", (chunk) => (data += chunk))
  request.on("end", () => {
    channel(name).broadcast(data)
    response.writeHead(204).end()
  })
})
server.keepAliveTimeout = 600_000
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 })
