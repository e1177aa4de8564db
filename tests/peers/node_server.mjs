// The peer for node's http: what tests ask of every server, and what only some can: trailers both ways, 103.
//     node node_server.mjs PORT
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";

const BIG = Buffer.alloc(1 << 20, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
const PART = 65536;
const PLAIN = { "Content-Type": "text/plain", "X-Peer": "node" };

function respond(response, body, headers = {}, status = 200) {
    response.writeHead(status, { ...PLAIN, ...headers, "Content-Length": Buffer.byteLength(body) });
    response.end(body);
}

function stream(response, headers, end = BIG.length) {
    response.writeHead(200, { ...PLAIN, ...headers });
    for (let start = 0; start < end; start += PART) {
        response.write(BIG.subarray(start, start + PART));
    }
}

async function echo(request, response) {
    const parts = [];
    for await (const part of request) {
        parts.push(part);
    }
    const sum = request.trailers["x-sum"];
    respond(response, Buffer.concat(parts), sum ? { "X-Sum-Seen": sum } : {});
}

function empty(response, status, headers) {
    response.writeHead(status, { "X-Peer": "node", ...headers });
    response.end();
}

const LENGTH = { "Content-Length": BIG.length };
const PATHS = {
    "/echo": echo,
    "/small": (_, response) => respond(response, "hello"),
    "/refuse": (_, response) => respond(response, "hello", {}, 413),
    "/close": (_, response) => respond(response, "hello", { Connection: "close" }),
    "/big": (_, response) => (stream(response, LENGTH), response.end()),
    "/chunked": (_, response) => (stream(response, {}), response.end()),
    "/stall/big": (_, response) => stream(response, LENGTH, BIG.length / 2),
    "/stall/chunked": (_, response) => stream(response, {}, BIG.length / 2),
    "/none": (_, response) => empty(response, 204, {}),
    "/same": (_, response) => empty(response, 304, { ETag: '"1"' }),
    "/cookies": (_, response) => respond(response, "hello", { "Set-Cookie": ["a=1; Path=/", "b=2; Path=/"] }),
    "/gzip": (_, response) => respond(response, gzipSync(BIG), { "Content-Encoding": "gzip" }),
    "/port": (request, response) => respond(response, String(request.socket.remotePort)),
    "/trailers": (_, response) => {
        stream(response, { Trailer: "X-Sum" });
        response.addTrailers({ "X-Sum": "abc" });
        response.end();
    },
    "/hints": (_, response) => {
        response.writeEarlyHints({ link: "</a.css>; rel=preload" });
        respond(response, "hello");
    },
};

createServer((request, response) => PATHS[request.url](request, response)).listen(Number(process.argv[2]), "127.0.0.1");
