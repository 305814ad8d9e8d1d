// Another grid of beats: half a beat later, half or twice the tempo, another reading of the vocal, or four taps.

import { chordName } from "/timeline.js";
import { t } from "/texts.js";

const TAPS = 4;
const BAR = 4;
const TEMPI = [30, 300];
const UNEVEN = 0.25;
const digits = (seconds) => Number(seconds.toFixed(4));

const inRange = (beat_s) => 60 / beat_s >= TEMPI[0] && 60 / beat_s <= TEMPI[1];
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const steps = (beats) => beats.slice(1).map((beat, i) => beat - beats[i]);
const middles = (beats) => beats.slice(1).map((beat, i) => (beat + beats[i]) / 2);

const metreOf = (plan) => plan?.beats_per_bar ?? BAR;

// The beats from the first one of a bar on, as the server takes taps.
export function fromDownbeat(plan) {
  const first = plan.downbeats_s[0] ?? plan.beats_s[0];
  return plan.beats_s.filter((beat) => beat >= first - 1e-3);
}

export const GRIDS = {
  half_a_beat_later: (beats) => middles(beats),
  half_tempo: (beats) => beats.filter((_, i) => i % 2 === 0),
  twice_tempo: (beats) => [...beats, ...middles(beats)].sort((a, b) => a - b),
};

// Taps as a grid of the whole song: that of the plan they agree with (it follows the singer), or the taps alone.
export function gridOfTaps(taps, plan) {
  const gap = (taps.at(-1) - taps[0]) / (taps.length - 1);
  const beats = plan?.beats_s ?? [];
  const known = beats.length > 4 ? [beats, beats.slice(1), ...Object.values(GRIDS).map((change) => change(beats)), GRIDS.half_tempo(beats.slice(1))] : [];
  const off = (grid) => {
    const period = median(steps(grid));
    if (Math.abs(Math.log(period / gap)) > 0.1) return Infinity;
    return Math.max(...taps.map((tap) => Math.min(...grid.map((beat) => Math.abs(beat - tap))))) / period;
  };
  const best = known.filter((grid) => grid.length > 4).sort((a, b) => off(a) - off(b))[0];
  if (!best || off(best) > UNEVEN) return taps.map(digits);
  const nearest = best.reduce((found, beat, i) => (Math.abs(beat - taps[0]) < Math.abs(best[found] - taps[0]) ? i : found), 0);
  return best.slice(nearest % metreOf(plan)).map(digits);
}

function steady(taps) {
  const gaps = steps(taps);
  const mean = (taps.at(-1) - taps[0]) / gaps.length;
  return inRange(mean) && gaps.every((gap) => Math.abs(gap - mean) < UNEVEN * mean);
}

export class GridControls {
  // `again` makes and plays a take with a changed wish; `plan` is what sounds now; `vocal` the vocal at hand.
  constructor(box, { player, plan, vocal, again, say }) {
    Object.assign(this, { box, player, plan, vocal, again, say });
    this.taps = null;
  }

  show() {
    const plan = this.plan();
    const usable = (plan?.beats_s.length ?? 0) > 4;
    this.box.hidden = !usable;
    if (!usable) return;
    if (this.taps) return this.showTapping();
    const buttons = Object.entries(GRIDS).map(([name, change]) => {
      const taps = change(fromDownbeat(plan)).map(digits);
      const made = this.button(t(name), () => this.again({ taps, metre: metreOf(plan) }));
      made.disabled = taps.length < 2 || !inRange((taps.at(-1) - taps[0]) / (taps.length - 1));
      return made;
    });
    const tap = this.button(t("tap_along"), () => this.begin());
    tap.id = "tap";
    const word = Object.assign(document.createElement("b"), { textContent: t("beat") });
    this.box.replaceChildren(word, ...buttons, tap, ...this.readings());
  }

  button(text, press) {
    return Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: text, onclick: press });
  }

  // The other readings of the vocal as buttons; the first one too, once another is played.
  readings() {
    const plan = this.vocal()?.plan;
    const all = (plan?.readings ?? []).map((reading, i) => ({ ...reading, number: i + 1 }));
    const { reading, beat_confidence } = this.plan();
    const played = beat_confidence === null ? 0 : reading; // a grid that was given is none of them
    const others = all.filter((reading) => reading.number !== played);
    if (!others.length) return [];
    const word = Object.assign(document.createElement("span"), { className: "quiet small", textContent: t("readings") });
    const chips = others.map((reading) => {
      const tempo = `${Math.round(reading.tempo_bpm)} bpm`;
      const percent = Math.round(100 * reading.probability);
      const words = [reading.name.includes("later") ? t("half_a_beat_later") : tempo, keyName(reading.key), percent ? `${percent}%` : "< 1%"];
      const made = this.button(words.join(", "), () => this.again({ reading: reading.number }));
      made.dataset.reading = reading.number;
      return made;
    });
    return [word, ...chips];
  }

  async begin() {
    this.taps = [];
    this.show();
    if (!this.player.playing) await this.player.play();
  }

  end() {
    this.taps = null;
    this.show();
    this.box.querySelector("#tap")?.focus();
  }

  showTapping() {
    const words = Object.assign(document.createElement("output"), { textContent: t("tapping", { n: this.taps.length }) });
    words.id = "tapping";
    const press = this.button(t("tap_along"), () => this.tap());
    press.classList.add("primary");
    this.box.replaceChildren(press, words, this.button(t("cancel"), () => this.end()));
    press.focus();
  }

  tap() {
    this.taps.push(this.player.position);
    if (this.taps.length < TAPS) return this.showTapping();
    const taps = this.taps;
    this.end();
    if (!steady(taps)) return this.say(t("uneven"));
    this.again({ taps: gridOfTaps(taps, this.plan()), metre: metreOf(this.plan()) });
  }

  // Whether a key was for the taps.
  key(event) {
    if (!this.taps || ![" ", "Escape"].includes(event.key)) return false;
    event.preventDefault();
    if (event.key === "Escape") this.end();
    else if (!event.repeat) this.tap();
    return true;
  }
}

export function keyName(key) {
  const [note, mode] = key.split(":");
  return t(mode === "min" ? "minor" : "major", { note: chordName(note) });
}
