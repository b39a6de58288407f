// Plain node: the response objects of each channel in a set, one write() for each.
import http from "node:http"

const channels = new Map()
const [port] = process.argv.slice(2)

const server = http.createServer((request, response) => {
  const name = new URL(request.url, "http://localhost").searchParams.get("channel")
  if (request.method === "GET") {
    response.writeHead(200, { "Content-Type": "text/event-stream" })
    response.write(":\n\n")
    request.socket.setNoDelay(true)
    if (!channels.has(name)) channels.set(name, new Set())
    channels.get(name).add(response)
    response.on("close", () => channels.get(name).delete(response))
    return
  }
  let data = ""
  request.on("data", (chunk) => (data += chunk))
  request.on("end", () => {
    const frame = Buffer.from(`data: ${data}\n\n`)
    for (const reader of channels.get(name) ?? []) reader.write(frame)
    response.writeHead(204).end()
  })
})
server.keepAliveTimeout = 600_000
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 })
