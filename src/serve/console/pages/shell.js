// What surrounds every page: the pages' names, the alarm summary, the connection, the banner when it is lost, and the settings.
import { useEffect, useRef, useState } from 'preact/hooks';
import { Mark, PRIORITIES, active, priorityOf, silenced, unacked } from '../lib/alarm.js';
import { said, sound } from '../lib/announce.js';
import { logOut } from '../lib/api.js';
import { clock, full, shortClock, span, zone, zoneAt } from '../lib/format.js';
import { shortcuts, useKeys } from '../lib/keys.js';
import { alarms, link } from '../lib/live.js';
import { useNow } from '../lib/resource.js';
import { prefer, prefs } from '../lib/prefs.js';
import { go, route } from '../lib/route.js';
import { session } from '../lib/session.js';
import { useStore } from '../lib/store.js';
import { DialogHost, Toasts, closeDialog, html, openDialog, toast } from '../lib/ui.js';
import { Alarms } from './alarms.js';
import { Audit } from './audit.js';
import { Messages } from './messages.js';
import { OnCall } from './on-call.js';
import { Sources } from './sources.js';
import { Statistics } from './statistics.js';
import { Tags } from './tags.js';
import { WhatIf } from './what-if.js';

const PAGES = [
  { path: '/', name: 'Alarms', key: 'a', Page: Alarms },
  { path: '/tags', name: 'Tags', key: 't', Page: Tags },
  { path: '/on-call', name: 'On call', key: 'o', Page: OnCall },
  { path: '/messages', name: 'Messages', key: 'm', Page: Messages },
  { path: '/statistics', name: 'Statistics', key: 's', Page: Statistics },
  { path: '/sources', name: 'Sources', key: 'c', Page: Sources },
  { path: '/audit', name: 'Audit', key: 'u', Page: Audit },
  { path: '/what-if', name: 'What-if', key: 'w', Page: WhatIf },
];

export function Shell() {
  const { path } = useStore(route);
  const { site } = useStore(session) ?? {};
  const { state } = useStore(link);
  const [menu, setMenu] = useState(false);
  const shown = PAGES.find((page) => page.path === path) ?? PAGES[0];
  const arrived = useRef(false);
  useEffect(() => {
    setMenu(false);
    // A new page begins at its heading, for eyes and for screen readers; the first one where the browser puts it.
    if (arrived.current) {
      document.querySelector('#main')?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    arrived.current = true;
  }, [shown]);
  useKeys([
    ...PAGES.map((page) => ({ keys: `g ${page.key}`, does: `Go to ${page.name}`, run: () => go(page.path) })),
    { keys: '?', does: 'Show the shortcuts', run: help },
  ]);
  useEffect(() => {
    document.documentElement.dataset.link = state;
    return () => delete document.documentElement.dataset.link;
  }, [state]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="/">${site || 'Annunciator'}</a>
      <button type="button" class="menu" aria-expanded=${String(menu)} aria-controls="pages" onClick=${() => setMenu(!menu)}>Menu</button>
      <nav id="pages" class=${menu ? 'pages open' : 'pages'} aria-label="Pages">
        ${PAGES.map((page) => html`<a href=${page.path} aria-current=${page === shown ? 'page' : undefined}>${page.name}</a>`)}
      </nav>
      <${Summary} page=${shown} />
      <${Connection} />
      <${Settings} />
    </header>
    <${Banner} />
    <main id="main" tabindex="-1" data-live><${shown.Page} /></main>
    <${Announcer} />
    <${Toasts} />
    <${DialogHost} />`;
}

function skip(event) {
  event.preventDefault();
  document.querySelector('#main').focus();
}

/** How many unacknowledged alarms of each priority there are, on every page. */
function Summary({ page }) {
  const all = useStore(alarms);
  const waiting = all && [...all.values()].filter((alarm) => unacked(alarm) && !silenced(alarm));
  const standing = all && [...all.values()].filter((alarm) => active(alarm) && !unacked(alarm) && !silenced(alarm)).length;
  useEffect(() => {
    document.title = `${waiting?.length ? `(${waiting.length}) ` : ''}${page.name} – ${session.value?.site || 'Annunciator'}`;
  }, [waiting?.length, page]);
  if (!all) return html`<span class="summary">Alarms are being read</span>`;
  const rows = PRIORITIES.map((priority) => [priority, waiting.filter((alarm) => priorityOf(alarm) === priority).length]).filter(([, number]) => number);
  return html`<a class="summary" href="/" data-live>
    ${rows.map(([priority, number]) => html`<span class="tally"><${Mark} priority=${priority} size=${18} />${number}<span class="sr"> ${priority} unacknowledged,</span></span>`)}
    ${!rows.length && html`<span>None unacknowledged</span>`}
    ${standing > 0 && html`<span class="none standing">${standing} standing</span>`}
  </a>`;
}

function Connection() {
  const { state } = useStore(link);
  const now = useNow();
  const words = { live: 'Live', lost: 'Disconnected', connecting: 'Connecting' }[state];
  return html`<div class="connection ${state}" title="Times are those of ${zone}">
    <span class="dot" aria-hidden="true"></span><span class="state">${words}</span>
    <time datetime=${now.toISOString()}>${clock(now)} <span class="zone">${zoneAt(now)}</span></time>
  </div>`;
}

function Banner() {
  const { state, lost } = useStore(link);
  const now = useNow();
  if (state !== 'lost') return null;
  return html`<div class="banner" role="alert">
    <strong>Disconnected.</strong> What is shown is of ${full(lost)}.
    <span aria-hidden="true"> It is ${span(now - lost)} old.</span> New alarms are not shown here. Texts and calls go out as long as
    Annunciator itself runs. Trying again…
  </div>`;
}

function Announcer() {
  const { urgent, calm } = useStore(said);
  return html`<div class="sr" aria-live="assertive" id="said-urgent">${urgent}</div><div class="sr" aria-live="polite" id="said-calm">${calm}</div>`;
}

function Settings() {
  const who = useStore(session);
  const { sound: sounding } = useStore(prefs);
  const flip = () => {
    const next = sounding === 'on' ? 'off' : 'on';
    prefer('sound', next);
    if (next === 'on') sound('low');
  };
  return html`<div class="settings">
    <button type="button" class="sound" aria-pressed=${String(sounding === 'on')} onClick=${flip}>Sound ${sounding}</button>
    <button type="button" class="plain" aria-label="Shortcuts" title="Shortcuts" onClick=${help}>?</button>
    <button type="button" class="who" aria-label=${`Settings and log out: ${who?.user}`} onClick=${() => openDialog('Settings', () => html`<${SettingsForm} />`)}>${who?.user}</button>
  </div>`;
}

function SettingsForm() {
  const who = useStore(session);
  const { theme, keys } = useStore(prefs);
  const leave = async () => {
    closeDialog();
    try {
      await logOut();
    } catch (error) {
      toast(error.message, 'bad');
    }
  };
  return html`
    <p>You are <strong>${who?.user}</strong>, role <strong>${who?.role}</strong>.
      ${who?.expires && html` The session ends at ${shortClock(new Date(who.expires))} at the latest.`}</p>
    <fieldset class="choices"><legend>Colours</legend>
      ${[['auto', 'As the system'], ['dark', 'Dark'], ['light', 'Light']].map(
        ([value, label]) => html`<label><input type="radio" name="theme" value=${value} checked=${theme === value} onChange=${() => prefer('theme', value)} /> ${label}</label>`,
      )}
    </fieldset>
    <fieldset class="choices"><legend>Single-key shortcuts</legend>
      <label><input type="checkbox" checked=${keys === 'on'} onChange=${(event) => prefer('keys', event.target.checked ? 'on' : 'off')} /> On; ? lists them</label>
    </fieldset>
    <p class="hint">Times are those of this browser: ${zone}.</p>
    <div class="buttons"><button type="button" class="primary" onClick=${closeDialog}>Done</button><button type="button" onClick=${leave}>Log out</button></div>`;
}

function help() {
  openDialog('Shortcuts', (close) => html`
    <dl class="keys">${shortcuts.value.map(({ keys, does }) => html`<dt>${keys.split(' ').map((key) => html`<kbd>${key === 'Escape' ? 'Esc' : key}</kbd> `)}</dt><dd>${does}</dd>`)}
      <dt><kbd>Tab</kbd> <kbd>Enter</kbd></dt><dd>Everything is reached with these too</dd></dl>
    <p class="hint">They can be switched off in the settings.</p>
    <div class="buttons"><button type="button" class="primary" onClick=${close}>Close</button></div>`);
}
