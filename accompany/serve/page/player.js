// Plays the voice and two takes in step, a take whole or as stems (track "A", or "A:drums" and so on). Only the chosen take sounds, so changing it is instant; loops have no gap.

const RAMP_S = 0.012;
const AHEAD_S = 0.03;
const KEPT = 12;
const gainOf = (db) => (db <= -40 ? 0 : 10 ** (db / 20));

export class Player {
  #loop = null;

  constructor(fetchSound, onChange) {
    this.fetchSound = fetchSound;
    this.onChange = onChange;
    this.buffers = new Map();
    this.tracks = {};
    this.urls = { voice: null, A: null, B: null };
    this.levels = { voice: 0, band: 0, drums: 0, bass: 0, other: 0 };
    this.solo = null;
    this.active = "A";
    this.at = 0;
    this.playing = false;
    this.seconds = 0;
    this.run = 0;
  }

  get loop() {
    return this.#loop;
  }

  set loop(region) {
    if (String(region) === String(this.#loop)) return;
    const { position } = this;
    this.#loop = region;
    if (this.playing) this.seek(position);
  }

  get position() {
    return this.playing ? this.positionAt(this.context.currentTime) : this.at;
  }

  positionAt(time) {
    const now = this.at + Math.max(0, time - this.startedAt);
    const [from, to] = this.#loop ?? [];
    return this.#loop && now >= to ? from + ((now - from) % (to - from)) : Math.min(now, this.seconds);
  }

  async setTrack(name, url) {
    if (this.urls[name] === url) return;
    this.urls[name] = url;
    const before = this.tracks[name];
    const buffer = this.playing && url ? await this.buffer(url) : null; // the one before sounds until this one can
    if (this.urls[name] !== url) return;
    if (this.tracks[name] === before) this.silence(name);
    if (this.playing && buffer && !this.tracks[name]) this.start(name, buffer);
  }

  setActive(slot) {
    this.active = slot;
    this.level();
  }

  setLevel(channel, db) {
    this.levels[channel] = db;
    this.level();
  }

  setSolo(channel) {
    this.solo = channel;
    this.level();
  }

  // The context and all sounds, ready to start without delay.
  async load() {
    this.context ??= new AudioContext();
    await this.context.resume();
    await Promise.all(Object.values(this.urls).filter(Boolean).map((url) => this.buffer(url)));
    return this.context;
  }

  // Play from where it stands; `when` is a time of the context, soon where it is left out.
  async play(when = 0) {
    await this.load();
    if (this.at >= (this.#loop?.[1] ?? this.seconds) - 0.01) this.at = this.#loop ? this.#loop[0] : 0;
    const wanted = Object.entries(this.urls).filter(([, url]) => url);
    const buffers = await Promise.all(wanted.map(([, url]) => this.buffer(url)));
    this.startedAt = Math.max(when, this.context.currentTime + AHEAD_S);
    this.playing = true;
    wanted.forEach(([name], i) => this.start(name, buffers[i]));
    this.onChange();
    this.watch(++this.run);
  }

  pause() {
    this.at = this.position;
    this.playing = false;
    Object.keys(this.tracks).forEach((name) => this.silence(name));
    this.onChange();
  }

  async seek(seconds) {
    const goOn = this.playing;
    if (goOn) this.pause();
    this.at = Math.max(0, Math.min(seconds, this.seconds));
    if (goOn) await this.play();
    this.onChange();
  }

  reset(seconds) {
    if (this.playing) this.pause();
    this.buffers.clear();
    this.urls = { voice: null, A: null, B: null };
    this.at = 0;
    this.#loop = null;
    this.seconds = seconds;
  }

  watch(run) {
    if (!this.playing || run !== this.run) return;
    if (!this.#loop && this.position >= this.seconds - 0.005) {
      this.pause();
      this.at = 0;
    }
    this.onChange();
    if (this.playing) requestAnimationFrame(() => this.watch(run));
  }

  start(name, buffer) {
    this.silence(name);
    performance.mark("track starts");
    const [loopStart, loopEnd] = this.#loop ?? [0, 0];
    const source = new AudioBufferSourceNode(this.context, { buffer, loop: Boolean(this.#loop), loopStart, loopEnd });
    const gain = new GainNode(this.context, { gain: this.gain(name) });
    source.connect(gain).connect(this.context.destination);
    const when = Math.max(this.startedAt, this.context.currentTime + 0.005);
    source.start(when, this.positionAt(when));
    this.tracks[name] = { source, gain };
  }

  silence(name) {
    const track = this.tracks[name];
    if (!track) return;
    delete this.tracks[name];
    track.gain.gain.setTargetAtTime(0, this.context.currentTime, RAMP_S / 3);
    track.source.stop(this.context.currentTime + 2 * RAMP_S);
  }

  gain(name) {
    const [slot, stem] = name.split(":");
    const channel = slot === "voice" ? "voice" : "band";
    const heard = (!this.solo || this.solo === channel) && (channel === "voice" || slot === this.active);
    return heard ? gainOf(this.levels[channel]) * (stem ? gainOf(this.levels[stem]) : 1) : 0;
  }

  level() {
    for (const [name, { gain }] of Object.entries(this.tracks))
      gain.gain.setTargetAtTime(this.gain(name), this.context.currentTime, RAMP_S / 3);
  }

  async buffer(url) {
    if (!this.buffers.has(url)) {
      const pending = this.fetchSound(url).then((bytes) => this.context.decodeAudioData(bytes));
      this.buffers.set(url, pending);
      pending.catch(() => this.buffers.delete(url));
      for (const old of this.buffers.keys()) {
        if (this.buffers.size <= KEPT) break;
        if (!Object.values(this.urls).includes(old)) this.buffers.delete(old);
      }
    }
    return this.buffers.get(url);
  }
}
