// The peer for npm's ws: WebSockets alone.
//     node ws_server.mjs PORT PACKAGES
import { createServer, STATUS_CODES } from "node:http";
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(process.argv[3])("ws");
const closed = [];
const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    maxPayload: 0,
    handleProtocols: () => "echo",
});

// Every message back; `close CODE REASON` ends it. `/closed` tells how the last one was ended.
function talk(socket) {
    socket.on("message", (data, isBinary) => {
        const [word, code, ...reason] = isBinary || data.length > 200 ? [] : data.toString().split(" ");
        if (word === "close") {
            socket.close(Number(code), reason.join(" "));
        } else {
            socket.send(data, { binary: isBinary });
        }
    });
    socket.on("close", (code, reason) => closed.push(`${code} ${reason}`));
}

function refuse(socket, status) {
    const head = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, "Content-Length: 7", "Connection: close"];
    socket.end([...head, "", "not you"].join("\r\n"));
}

createServer((_, response) => response.end(closed.pop() ?? ""))
    .on("upgrade", (request, socket, head) => {
        if (request.url === "/ws") {
            sockets.handleUpgrade(request, socket, head, talk);
        } else {
            refuse(socket, Number(request.url.slice("/ws/".length)));
        }
    })
    .listen(Number(process.argv[2]), "127.0.0.1");
