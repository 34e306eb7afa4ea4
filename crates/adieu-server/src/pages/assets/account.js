// The page of a user's sessions. Without this script it works too, and shows the state of when it was loaded.

import { stay } from './forms.js';
import { find, renew, session } from './live.js';
import { refresh } from './session.js';

const REFRESH_INTERVAL = 30_000;

const view = find('main')?.dataset.view;

if (view === 'resume') resume();
if (view === 'account') account();

function resume() {
  refresh().then(
    (goesOn) => (goesOn ? location.reload() : location.replace(`${find('main')?.dataset.area}?ended`)),
    () => {},
  );
}

function account() {
  if (location.search) history.replaceState(null, '', '/account');
  const own = session('/account');
  const { update, connection } = renew(own, {
    path: '/account?renew',
    interval: REFRESH_INTERVAL,
    show(page) {
      const isAccount = find('main', page)?.dataset.view === 'account';
      if (isAccount) sessions(page);
      return isAccount;
    },
  });
  stay(show, () => connection('stale'));
  document.addEventListener('submit', ({ target }) => {
    if (!('stay' in /** @type {HTMLElement} */ (target).dataset)) own.leaving();
  });

  /** Shows the answer to a form. @param {Document} page */
  function show(page) {
    const kind = find('main', page)?.dataset.view;
    if (kind === 'resume') return void refresh().then((goesOn) => (goesOn ? update() : own.ended()));
    if (kind !== 'account') return own.ended();
    const isDone = !page.querySelector('[role=alert]');
    sessions(page);
    find('notices')?.replaceChildren(...(find('notices', page)?.childNodes ?? []));
    if (isDone) {
      for (const details of document.querySelectorAll('details')) details.open = false;
      for (const input of document.querySelectorAll('input')) if (input.type === 'password') input.value = '';
      // The button that was used may be gone.
      if (!document.activeElement || document.activeElement === document.body) find('title')?.focus();
    } else {
      /** @type {HTMLElement | null} */ (document.querySelector('details[open] input[type=password]'))?.focus();
    }
    connection('good');
  }

  /** Replaces the list of sessions. Those that have ended stay visible, marked, until the page is left. @param {Document} page */
  function sessions(page) {
    const [old, fresh] = [find('sessions'), find('sessions', page)];
    if (!old || !fresh) return;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.closest('#sessions [data-session]');
    const key = focused instanceof HTMLElement ? focused.dataset.session : undefined;
    const list = fresh.querySelector('ul');
    const ids = new Set([...fresh.querySelectorAll('[data-session]')].map((row) => row.getAttribute('data-session')));
    for (const row of old.querySelectorAll('[data-session]')) {
      if (ids.has(row.getAttribute('data-session'))) continue;
      row.classList.add('ended');
      row.querySelector('form')?.remove();
      if (!row.querySelector('.pill')) {
        const pill = Object.assign(document.createElement('span'), { className: 'pill bad', textContent: old.dataset.ended });
        row.querySelector('.what p')?.append(' ', pill);
      }
      list?.append(row);
    }
    old.replaceChildren(...fresh.childNodes);
    // What is renewed at intervals has no events.
    const events = find('events', page);
    if (events) find('events')?.replaceWith(events);
    // Its parts change with the number of sessions.
    const others = document.querySelector('.actions > form');
    if (others && !page.querySelector('.actions > form')) others.remove();
    else if (!others) document.querySelector('.actions')?.prepend(...page.querySelectorAll('.actions > form'));
    if (key !== undefined) {
      const row = [...old.querySelectorAll('[data-session]')].find((row) => row.getAttribute('data-session') === key);
      const button = row?.querySelector('button') ?? find('title');
      button?.focus();
    }
  }
}
