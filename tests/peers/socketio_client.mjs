// The peer for npm's socket.io client: what a talk of each of so many clients came to, as JSON on stdout.
//     node socketio_client.mjs URL CLIENTS MESSAGES PACKAGES
import { once } from "node:events";
import { createRequire } from "node:module";

const [url, clients, messages, packages] = process.argv.slice(2);
const { io } = createRequire(packages)("socket.io-client");

async function talk(name) {
    // Without credentials it keeps no cookies, as a page of another origin would not.
    const socket = io(url, { forceNew: true, reconnection: false, withCredentials: true });
    const errors = [];
    socket.on("connect_error", (error) => errors.push(String(error)));
    socket.on("disconnect", (reason) => errors.push(reason));
    socket.on("question", (number, acknowledge) => acknowledge(`${name} ${number}`));
    const upgraded = new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
    await once(socket, "connect");
    const heard = [];
    for (let number = 0; number < Number(messages); number++) {
        heard.push(await socket.emitWithAck("say", `${name} ${number}`));
    }
    await upgraded;
    const answers = await socket.emitWithAck("quiz", Number(messages));
    const transport = socket.io.engine.transport.name;
    socket.off("disconnect").disconnect();
    return { transport, heard, answers, errors };
}

const names = Array.from({ length: Number(clients) }, (_, number) => `client-${number}`);
console.log(JSON.stringify(await Promise.all(names.map(talk))));
