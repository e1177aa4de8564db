// The peer for npm's socket.io server.
//     node socketio_server.mjs PORT PACKAGES
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { Server } = createRequire(process.argv[3])("socket.io");
const http = createServer();

new Server(http).on("connection", (socket) => {
    // Who heard it, and what.
    socket.on("say", (text, acknowledge) => acknowledge([String(process.pid), text]));
    // The answers to so many questions of ours.
    socket.on("quiz", async (questions, acknowledge) => {
        const answers = [];
        for (let number = 0; number < questions; number++) {
            answers.push(await socket.emitWithAck("question", number));
        }
        acknowledge(answers);
    });
});
http.listen(Number(process.argv[2]), "127.0.0.1");
