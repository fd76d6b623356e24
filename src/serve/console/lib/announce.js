// A new alarm is said (aria-live) and, where the user wants it, sounded.
import { priorityOf, spoken, PRIORITIES } from './alarm.js';
import { prefs } from './prefs.js';
import { Store } from './store.js';

/** Texts of the two live regions: `urgent` interrupts a screen reader, `calm` waits. */
export const said = new Store({ urgent: '', calm: '' });

const FREQUENCIES = { critical: [880, 660, 880, 660], high: [780, 620, 780], medium: [620, 520], low: [520], diagnostic: [440] };
const TONE = 0.16;
let audio = null;

export const say = (text, urgent = false) => said.patch(urgent ? { urgent: text } : { calm: text });

/** Browsers let a page sound only after the user has pressed something; switching the sound on is such a press. */
export function sound(priority) {
  try {
    audio ??= new AudioContext();
    audio.resume();
    FREQUENCIES[priority].forEach((frequency, index) => {
      const start = audio.currentTime + index * TONE;
      const tone = audio.createOscillator();
      const loudness = audio.createGain();
      tone.frequency.value = frequency;
      loudness.gain.setValueAtTime(0.0001, start);
      loudness.gain.exponentialRampToValueAtTime(0.25, start + 0.02);
      loudness.gain.exponentialRampToValueAtTime(0.0001, start + TONE);
      tone.connect(loudness).connect(audio.destination);
      tone.start(start);
      tone.stop(start + TONE);
    });
  } catch {
    // No sound device: the page still shows and says it.
  }
}

/** Tells of alarms that have just come. */
export function announce(alarms) {
  if (!alarms.length) return;
  const sorted = [...alarms].sort((one, two) => PRIORITIES.indexOf(priorityOf(one)) - PRIORITIES.indexOf(priorityOf(two)));
  const highest = priorityOf(sorted[0]);
  const urgent = highest === 'critical' || highest === 'high';
  say(sorted.length === 1 ? `New ${spoken(sorted[0])}` : `${sorted.length} new alarms, the highest: ${spoken(sorted[0])}`, urgent);
  if (prefs.value.sound === 'on') sound(highest);
}
