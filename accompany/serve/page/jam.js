// A jam: a count-in, then a part goes round and round while the next takes of it are made; a person sings over it.

import { t } from "/texts.js";

const CLICKS = 4;
const CLICK_S = 0.05;
const AHEAD_S = 0.12;
const MOST_TAKES = 8;

function click(context, at, isFirst) {
  const tone = new OscillatorNode(context, { frequency: isFirst ? 1760 : 1175 });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0.3, at);
  gain.gain.exponentialRampToValueAtTime(0.001, at + CLICK_S);
  tone.connect(gain).connect(context.destination);
  tone.start(at);
  tone.stop(at + CLICK_S);
  return tone;
}

// Seconds of a beat near a place of a plan, and beats in its bar.
function pulse(plan, place) {
  const beats = plan?.beats_s ?? [];
  if (beats.length < 2) return [0.5, CLICKS];
  const after = Math.min(Math.max(beats.findIndex((beat) => beat > place), 1), beats.length - 1);
  return [beats[after] - beats[after - 1], plan.beats_per_bar ?? CLICKS];
}

export class Jam {
  // `plan` and `region` are what is to be played; `next` asks for a take and ends when it has come.
  constructor(button, { player, plan, region, next, guard, onChange }) {
    Object.assign(this, { button, player, plan, region, next, guard, onChange });
    this.on = false;
    this.clicks = [];
    button.onclick = () => (this.on ? this.stop() : guard(() => this.start()));
  }

  show() {
    this.button.textContent = t(this.on ? "jam_stop" : "jam");
    this.button.title = t("jam_more");
    this.button.setAttribute("aria-pressed", String(this.on));
  }

  async start() {
    const asked = performance.now();
    this.on = true;
    this.show();
    const { player } = this;
    const [from, to] = this.region() ?? [0, player.seconds];
    if (player.playing) player.pause();
    const context = await player.load();
    const [beat_s, beats] = pulse(this.plan(), from);
    const first = context.currentTime + AHEAD_S;
    this.clicks = Array.from({ length: beats }, (_, i) => click(context, first + i * beat_s, i === 0));
    const waits = 1000 * (first - context.currentTime);
    performance.measure("jam latency", { start: asked, end: performance.now() + waits });
    player.loop = [from, to];
    player.at = from;
    await player.play(first + beats * beat_s);
    this.onChange();
    await this.makeOn();
  }

  // One take after the other, none before the last one was heard from end to end.
  async makeOn() {
    for (let made = 0; this.on && made < MOST_TAKES; made++) {
      const asked = performance.now();
      if (!(await this.guard(() => this.next().then(() => true)))) return this.stop();
      const [from, to] = this.player.loop ?? [0, 0];
      await new Promise((resolve) => setTimeout(resolve, Math.max(1000 * (to - from) - (performance.now() - asked), 250)));
    }
  }

  stop() {
    this.on = false;
    this.clicks.forEach((tone) => tone.stop());
    this.clicks = [];
    if (this.player.playing) this.player.pause();
    this.show();
    this.onChange();
  }
}
