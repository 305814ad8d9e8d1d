// The styles that a click offers (prompts stay English, which the model reads), the keys to choose from, times as text.

export const STYLES = [
  ["style_acoustic", "warm acoustic guitar, soft bass, brushed drums"],
  ["style_ballad", "slow, tender piano ballad, strings, no drums"],
  ["style_jazz", "warm jazz trio, piano, walking bass, brushed drums"],
  ["style_bossa", "bossa nova, nylon guitar, soft bass, light percussion"],
  ["style_rock", "driving rock, electric guitar, bass, loud drums"],
  ["style_funk", "upbeat funk band, slap bass, clavinet, tight drums"],
  ["style_reggae", "laid-back reggae, organ, offbeat guitar, deep bass"],
  ["style_house", "house, four-on-the-floor drums, synth bass, pads"],
  ["style_folk", "folk, finger-picked guitar, accordion"],
  ["style_strings", "string quartet, gentle, no drums"],
];

const NOTES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
export const KEYS = [...NOTES.map((note) => ["major", note]), ...NOTES.map((note) => ["minor", note])];

export const clock = (seconds, digits = 0) =>
  `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
