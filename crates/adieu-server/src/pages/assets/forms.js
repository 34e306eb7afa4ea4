// Forms that stay on their page: what the server answers replaces the content, so that each text is rendered in one place.

/** Parses a page of the server. Its scripts do not run. @param {string} html */
export function parse(html) {
  return new DOMParser().parseFromString(html, 'text/html');
}

/**
 * Sends each form with `data-stay` in the background, and passes the page that comes back to `show`, or calls `failed`.
 * @param {(page: Document) => void} show @param {() => void} failed
 */
export function stay(show, failed) {
  document.addEventListener('submit', async (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (!('stay' in form.dataset)) return;
    event.preventDefault();
    if (form.ariaBusy === 'true') return;
    form.ariaBusy = 'true';
    try {
      const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
      const response = await fetch(form.action, { method: 'POST', body });
      show(parse(await response.text()));
    } catch {
      failed();
    } finally {
      form.ariaBusy = null;
    }
  });
}
