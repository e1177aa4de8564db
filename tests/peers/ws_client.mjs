// The peer for npm's ws on the other side: what a talk with every kind of message came to, as JSON on stdout.
//     node ws_client.mjs URL REASON PACKAGES
import { once } from "node:events";
import { createRequire } from "node:module";

const [url, reason, packages] = process.argv.slice(2);
const WebSocket = createRequire(packages)("ws");
const BIG = Buffer.alloc(1 << 20, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));

async function connect() {
    const socket = new WebSocket(url, ["echo"], { maxPayload: 0 });
    await once(socket, "open");
    return socket;
}

async function sameComesBack(socket, message) {
    socket.send(message);
    const [data, isBinary] = await once(socket, "message");
    return isBinary === Buffer.isBuffer(message) && data.equals(Buffer.from(message));
}

async function inParts(socket, ...parts) {
    parts.forEach((part, number) => socket.send(part, { fin: number === parts.length - 1 }));
    return String((await once(socket, "message"))[0]);
}

async function pong(socket) {
    socket.ping("are you there");
    return String((await once(socket, "pong"))[0]);
}

async function goodbye(socket) {
    socket.send(`close 4000 ${reason}`);
    return (await once(socket, "close")).join(" ");
}

async function leave(socket) {
    socket.close(4999, reason);
    await once(socket, "close");
}

async function refusal(status) {
    const [, response] = await once(new WebSocket(`${url}/${status}`), "unexpected-response");
    const { socket } = response; // it has none any more at its end
    const body = Buffer.concat(await response.toArray());
    socket.destroy(); // it is kept alive, and so would this program be
    return `${response.statusCode} ${body}`;
}

await leave(await connect());
const socket = await connect();
const same = [];
for (const message of [reason, "", Buffer.alloc(0), BIG]) {
    same.push(await sameComesBack(socket, message));
}
console.log(
    JSON.stringify({
        protocol: socket.protocol,
        extensions: socket.extensions,
        same,
        parts: await inParts(socket, "in ", "three ", "parts"),
        pong: await pong(socket),
        goodbye: await goodbye(socket),
        refusal: await refusal(403),
    }),
);
