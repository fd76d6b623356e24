// Times in the browser's zone, spans and values, as people read them.
const pad = (number, width = 2) => String(number).padStart(width, '0');

/** The browser's zone, such as `Europe/Berlin`. */
export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The zone's short name at a time, such as `CET`. */
export function zoneAt(date) {
  const parts = new Intl.DateTimeFormat('en', { timeZoneName: 'short' }).formatToParts(date);
  return parts.find((part) => part.type === 'timeZoneName')?.value ?? '';
}

/** A time of the API as a Date; `null` for none and for 1601, which means never. */
export function when(text) {
  if (!text) return null;
  const date = new Date(text);
  return Number.isNaN(date.getTime()) || date.getFullYear() < 1971 ? null : date;
}

export const clock = (date) => `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
export const shortClock = (date) => `${pad(date.getHours())}:${pad(date.getMinutes())}`;
export const day = (date) => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
export const weekday = (date) => date.toLocaleDateString('en', { weekday: 'short' });
export const full = (date) => `${weekday(date)} ${day(date)} ${clock(date)} ${zoneAt(date)}`;

/** The time alone when it is of today, else with its date. */
export function brief(date, now = new Date()) {
  return day(date) === day(now) ? clock(date) : `${day(date)} ${clock(date)}`;
}

/** `4 s`, `12 min`, `3 h 20 min`, `5 d 2 h`. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** For `<input type="datetime-local">`, in the browser's zone. */
export const localInput = (date) => `${day(date)}T${shortClock(date)}`;

/** `Plant/Line1/TankTrip/Alarms/Trip` as tag and alarm. */
export function alarmName(path) {
  const at = path.lastIndexOf('/Alarms/');
  return at < 0 ? { tag: path, name: '' } : { tag: path.slice(0, at), name: path.slice(at + 8) };
}

/** A tag's value as text. */
export function value(value) {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(7)));
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** `message_not_sent` as `Message not sent`. */
export function words(name) {
  const text = String(name ?? '').replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
