const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/**
 * Returns the text of a UUID, in lower case with hyphens.
 * @param {Uint8Array} bytes
 * @param {number} at where its 16 bytes begin
 */
export function uuidText(bytes, at) {
  let text = '';
  for (let index = 0; index < 16; index += 1) {
    if (index === 4 || index === 6 || index === 8 || index === 10) text += '-';
    text += HEX[bytes[at + index]];
  }
  return text;
}
