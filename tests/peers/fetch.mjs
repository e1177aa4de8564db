// The peer for undici, which is node's own fetch: a JSON list of asks on stdin, a list of outcomes on stdout.
import { readFileSync } from "node:fs";

const PART = 50_000;

function inParts(body) {
    return new ReadableStream({
        start(controller) {
            for (let start = 0; start < body.length; start += PART) {
                controller.enqueue(body.subarray(start, start + PART));
            }
            controller.close();
        },
    });
}

async function outcome({ url, method, headers, body, chunked }) {
    const bytes = Buffer.from(body, "base64");
    const content = chunked ? inParts(bytes) : bytes.length ? bytes : undefined;
    try {
        const response = await fetch(url, { method, headers, body: content, duplex: "half" });
        const got = Buffer.from(await response.arrayBuffer()).toString("base64");
        return { status: response.status, body: got, cookies: response.headers.getSetCookie(), error: "" };
    } catch (error) {
        return { status: 0, body: "", cookies: [], error: `${error}: ${error.cause}` };
    }
}

const outcomes = [];
for (const ask of JSON.parse(readFileSync(0))) {
    outcomes.push(await outcome(ask));
}
console.log(JSON.stringify(outcomes));
