// Verifies the webhooks on its standard input, one JSON object a line, with the libraries that receivers use.
// Arguments: the secret. Prints how many were verified.
import { createInterface } from 'node:readline';
import { Webhook as Standard } from 'standardwebhooks';
import { Webhook as Svix } from 'svix';

const libraries = [new Standard(process.argv[2]), new Svix(process.argv[2])];
let verified = 0;
for await (const line of createInterface({ input: process.stdin })) {
    const { headers, body } = JSON.parse(line);
    for (const library of libraries) {
        const message = library.verify(body, headers);
        if (typeof message.type !== 'string' || Number.isNaN(Date.parse(message.timestamp))) {
            throw new Error(`not a message: ${body}`);
        }
    }
    verified += 1;
}
console.log(verified);
