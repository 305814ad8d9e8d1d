// The styles that a click offers, the keys to choose from, and times as text.

export const STYLES = [
  ["Acoustic", "warm acoustic guitar, soft bass, brushed drums"],
  ["Piano ballad", "slow, tender piano ballad, strings, no drums"],
  ["Jazz trio", "warm jazz trio, piano, walking bass, brushed drums"],
  ["Bossa nova", "bossa nova, nylon guitar, soft bass, light percussion"],
  ["Rock", "driving rock, electric guitar, bass, loud drums"],
  ["Funk", "upbeat funk band, slap bass, clavinet, tight drums"],
  ["Reggae", "laid-back reggae, organ, offbeat guitar, deep bass"],
  ["House", "house, four-on-the-floor drums, synth bass, pads"],
  ["Folk", "folk, finger-picked guitar, accordion"],
  ["Strings", "string quartet, gentle, no drums"],
];

const NOTES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
export const KEYS = [
  ...NOTES.map((note) => [`${note} major`, `${note}:maj`]),
  ...NOTES.map((note) => [`${note} minor`, `${note}:min`]),
];

export const clock = (seconds, digits = 0) =>
  `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
