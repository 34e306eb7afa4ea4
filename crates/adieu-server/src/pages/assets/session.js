// The session of this browser, which all tabs share: one refresh and one stream of events for all of them.

const EXPIRES = 'adieu-expires';
const channel = new BroadcastChannel('adieu');

/** The value that a request must repeat, from the cookie that scripts can read. @param {'access' | 'refresh'} token */
export function csrf(token) {
  const name = `__Host-csrf_${token}_token=`;
  return document.cookie.split('; ').find((pair) => pair.startsWith(name))?.slice(name.length) ?? '';
}

/**
 * Refreshes, unless another tab has done so while this one waited for it. Resolves with whether the session goes on; rejects if the
 * server can't be reached.
 */
export async function refresh() {
  const before = localStorage.getItem(EXPIRES);
  return navigator.locks.request('adieu-refresh', async () => {
    if (localStorage.getItem(EXPIRES) !== before) return true;
    const headers = { accept: 'application/json', 'x-csrf-token': csrf('refresh') };
    // `keepalive`: if the page is left meanwhile, its cookies still arrive.
    const response = await fetch('/account/refresh', { method: 'POST', headers, keepalive: true });
    if (response.status >= 500 || response.status === 429) throw new Error(`the refresh was answered ${response.status}`);
    if (!response.ok) return false;
    noteExpiry((await response.json()).expires_in);
    return true;
  });
}

/** @param {number} seconds until the access token expires */
export function noteExpiry(seconds) {
  localStorage.setItem(EXPIRES, `${Date.now() + seconds * 1000}`);
}

/**
 * Refreshes before the access token expires, and calls `ended` when the session has ended anywhere.
 * @param {() => void} ended
 */
export function keep(ended) {
  channel.onmessage = ({ data }) => data === 'ended' && ended();
  const end = () => {
    channel.postMessage('ended');
    ended();
  };
  const renew = async () => {
    try {
      if (!(await refresh())) end();
    } catch {
      // Offline, or the server is restarting: the next turn tries again.
    }
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const schedule = () => {
    const left = Number(localStorage.getItem(EXPIRES)) - Date.now();
    clearTimeout(timer);
    // Timers of tabs in the background come late: a quarter of the lifetime is left for that.
    timer = setTimeout(() => renew().then(schedule), Math.min(Math.max(left * 0.75, 1_000), 2 ** 31 - 1));
  };
  schedule();
  addEventListener('storage', ({ key }) => key === EXPIRES && schedule());

  // Browsers open six connections to a server without HTTP/2, so only one tab has the stream.
  navigator.locks.request('adieu-events', () => new Promise(() => listen(renew, end)));
}

/**
 * Listens to the stream until the session ends.
 * @param {() => Promise<void>} renew @param {() => void} end
 */
function listen(renew, end) {
  const source = new EventSource('/account/events');
  const again = () => {
    source.close();
    setTimeout(() => listen(renew, end), 1_000);
  };
  source.addEventListener('ended', async ({ data }) => {
    source.close();
    if (JSON.parse(data).error !== 'token_expired') return end();
    // The token of the stream: a later one may be in the cookie by now.
    if (Number(localStorage.getItem(EXPIRES)) <= Date.now()) await renew();
    again();
  });
  source.addEventListener('error', async () => {
    // Otherwise the browser connects again by itself.
    if (source.readyState !== EventSource.CLOSED) return;
    const status = await fetch('/account', { headers: { accept: 'application/json' } }).then(({ status }) => status, () => 0);
    if (status === 401) await renew();
    again();
  });
}
