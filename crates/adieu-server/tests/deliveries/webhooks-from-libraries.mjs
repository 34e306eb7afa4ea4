// Sends the messages on its standard input, one JSON object a line, signed with the libraries that providers use.
// Arguments: the URL and the secret. Prints the status of each answer.
import { createInterface } from 'node:readline';
import { Webhook as Standard } from 'standardwebhooks';
import { Webhook as Svix } from 'svix';

const [url, secret] = process.argv.slice(2);
const libraries = { webhook: new Standard(secret), svix: new Svix(secret) };
for await (const line of createInterface({ input: process.stdin })) {
    const { prefix, id, age, body } = JSON.parse(line);
    const signedAt = new Date(Date.now() - age * 1000);
    const headers = {
        'content-type': 'application/json',
        [`${prefix}-id`]: id,
        [`${prefix}-timestamp`]: String(Math.floor(signedAt.getTime() / 1000)),
        [`${prefix}-signature`]: libraries[prefix].sign(id, signedAt, body),
    };
    const answer = await fetch(url, { method: 'POST', headers, body });
    console.log(answer.status);
}
