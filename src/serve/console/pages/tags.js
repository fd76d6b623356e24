// Tags: the tree, a search, live values with their quality, and writing one after saying so twice.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, put, query, tagPath } from '../lib/api.js';
import { full, value, when } from '../lib/format.js';
import { useKeys } from '../lib/keys.js';
import { on } from '../lib/live.js';
import { useResource } from '../lib/resource.js';
import { href, refine, route } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { Act, Field, Form, Loaded, More, Path, Table, Time, closeDialog, html, openDialog, toast } from '../lib/ui.js';

const PAGE = 100;
const TYPING = 250;

export function Tags() {
  const { params } = useStore(route);
  const { folder = '', text = '', cursor } = params;
  const search = useRef(null);
  const resource = useResource(
    (signal) => (text ? get('tags', { text, limit: PAGE, cursor }, signal) : get('tags-tree', { folder, limit: PAGE, cursor }, signal)),
    [folder, text, cursor],
  );
  const tags = resource.data?.tags ?? [];
  const live = useValues(tags.map((tag) => tag.path));
  useKeys([{ keys: '/', does: 'Search', run: () => search.current?.focus() }]);
  return html`
    <h1>Tags</h1>
    <${Search} text=${text} input=${search} />
    ${!text && html`<${Trail} folder=${folder} />`}
    <${Loaded} resource=${resource}>${(list) => html`
      ${list.folders?.length > 0 && html`<ul class="folders" aria-label="Folders">${list.folders.map(
        (inner) => html`<li key=${inner.path}><a href=${href('/tags', { folder: inner.path })}><span class="folder-mark" aria-hidden="true"></span>${inner.name} <span class="none">${inner.tags}</span></a></li>`,
      )}</ul>`}
      ${(tags.length > 0 || !list.folders?.length) && html`<${List} tags=${tags.map((tag) => ({ ...tag, ...live.get(tag.path) }))} folder=${text ? '' : folder} text=${text} />`}
      <${More} cursor=${cursor} next=${list.next} go=${(next) => refine({ cursor: next || undefined }, { replace: false })} />
    `}<//>`;
}

function Search({ text, input }) {
  const timer = useRef(null);
  const [typed, setTyped] = useState(text);
  useEffect(() => setTyped(text), [text]);
  const change = (event) => {
    const { value: words } = event.target;
    setTyped(words);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => refine({ text: words || undefined, cursor: undefined }), TYPING);
  };
  return html`<div class="filters" role="search" aria-label="Search the tags"><label class="grow"><span class="sr">Part of a path</span>
    <input ref=${input} type="search" placeholder="Search all tags" value=${typed} onInput=${change} onKeyDown=${(event) => event.key === 'Escape' && event.target.blur()} /></label></div>`;
}

/** The folders above the present one. */
function Trail({ folder }) {
  const names = folder ? folder.split('/') : [];
  return html`<nav class="trail" aria-label="Folder"><ol>
    <li><a href="/tags" aria-current=${folder ? undefined : 'page'}>All</a></li>
    ${names.map((name, index) => html`<li><a href=${href('/tags', { folder: names.slice(0, index + 1).join('/') })} aria-current=${index === names.length - 1 ? 'page' : undefined}>${name}</a></li>`)}
  </ol></nav>`;
}

/** The values of these tags as they change: a stream of its own while somebody looks. */
function useValues(paths) {
  const [values, setValues] = useState(() => new Map());
  const wanted = paths.join('\n');
  useEffect(() => {
    setValues(new Map());
    if (!wanted) return undefined;
    let stream = null;
    const open = () => {
      stream = new EventSource(`/api/v1/stream${query({ topics: 'tags', tag: wanted.split('\n') })}`);
      stream.addEventListener('tags', (event) => {
        const { tags } = JSON.parse(event.data);
        setValues((before) => new Map([...before, ...tags.map((tag) => [tag.path, tag])]));
      });
    };
    const renew = () => {
      stream?.close();
      stream = null;
      if (!document.hidden) open();
    };
    renew();
    const end = on('reload', renew);
    document.addEventListener('visibilitychange', renew);
    return () => {
      end();
      document.removeEventListener('visibilitychange', renew);
      stream?.close();
    };
  }, [wanted]);
  return values;
}

const quality = (status) => (status === 'Good' || status.startsWith('Good') ? 'good' : status.startsWith('Uncertain') ? 'uncertain' : 'bad');

function List({ tags, folder, text }) {
  const cut = folder ? folder.length + 1 : 0;
  const columns = [
    { label: 'Tag', class: 'what', cell: (tag) => html`<span class="name" title=${tag.path}><${Path} path=${tag.path.slice(cut)} /></span>${tag.description && html`<span class="path">${tag.description}</span>`}` },
    { label: 'Value', class: 'value', cell: (tag) => html`<span class="reading ${quality(tag.status)}">${value(tag.value)}</span> ${tag.unit && html`<span class="unit">${tag.unit}</span>`}` },
    { label: 'Quality', cell: (tag) => html`<span class="quality ${quality(tag.status)}">${tag.status}</span>` },
    { label: 'Source time', cell: (tag) => html`<${Time} at=${tag.source_time} />` },
    { label: 'Type', cell: (tag) => tag.type },
    { label: 'Action', class: 'acts', cell: (tag) => tag.writable && html`<${Act} role=${String(tag.write_role ?? 'operator').toLowerCase()} onClick=${() => write(tag)} aria-label=${`Write ${tag.path}`}>Write…<//>` },
  ];
  return html`<${Table} label="Tags" columns=${columns} rows=${tags} keyOf=${(tag) => tag.path} empty=${text ? `No tag has “${text}” in its path.` : 'There is no tag here.'} />`;
}

const isBoolean = (tag) => tag.type === 'Boolean';
const isText = (tag) => tag.type === 'String';

/** What somebody typed as the JSON that the API takes. */
function parse(tag, text) {
  if (isBoolean(tag)) return text === 'true';
  if (isText(tag)) return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`“${text}” is no ${tag.type}.`);
  }
}

/** First the value, then a sentence that says what will happen, and only then the write. */
function write(tag) {
  openDialog(`Write ${tag.path.split('/').at(-1)}`, () => html`<${WriteForm} tag=${tag} />`);
}

function WriteForm({ tag }) {
  const [wanted, setWanted] = useState(null);
  const facts = html`<dl class="facts"><div><dt>Tag</dt><dd>${tag.path}</dd></div>
    <div><dt>Value now</dt><dd>${value(tag.value)} ${tag.unit ?? ''} <span class="none">${tag.status}, ${when(tag.source_time) ? full(when(tag.source_time)) : ''}</span></dd></div></dl>`;
  if (wanted === null) {
    return html`${facts}<${Form} key="value" label="Go on…" undo="Cancel" onUndo=${closeDialog} send=${async ({ value: text }) => parse(tag, text)} done=${setWanted}>
      <${Field} label=${`New value (${tag.type}${tag.unit ? `, ${tag.unit}` : ''})`} name="value" hint=${tag.range ? `From ${tag.range[0]} to ${tag.range[1]}.` : undefined} required autocomplete="off" inputmode=${isText(tag) ? 'text' : 'decimal'}>
        ${isBoolean(tag) && (({ id, name }) => html`<select id=${id} name=${name}><option value="true" selected=${tag.value === false}>true</option><option value="false" selected=${tag.value === true}>false</option></select>`)}
      <//><//>`;
  }
  return html`${facts}<p class="notice warn">The device gets <strong>${value(wanted)}${tag.unit ? ` ${tag.unit}` : ''}</strong> instead of ${value(tag.value)}${tag.unit ? ` ${tag.unit}` : ''}. A machine may move.</p>
    <${Form} key="sure" label=${`Write ${value(wanted)}`} danger=${true} undo="Back" onUndo=${() => setWanted(null)} send=${() => put(`tags/${tagPath(tag.path)}`, { value: wanted })}
      done=${() => {
        closeDialog();
        toast(`${tag.path}: ${value(wanted)} is written.`);
      }} />`;
}
