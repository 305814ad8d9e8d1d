// Plays the voice and two takes in step. Only the chosen take sounds, so changing it is instant.

const RAMP_S = 0.012;
const KEPT = 6;
const gainOf = (db) => (db <= -40 ? 0 : 10 ** (db / 20));

export class Player {
  constructor(load, onChange) {
    this.load = load;
    this.onChange = onChange;
    this.buffers = new Map();
    this.tracks = {};
    this.urls = { voice: null, A: null, B: null };
    this.levels = { voice: 0, band: 0 };
    this.solo = null;
    this.active = "A";
    this.at = 0;
    this.playing = false;
    this.loop = null;
    this.seconds = 0;
  }

  get position() {
    if (!this.playing) return this.at;
    const now = this.at + Math.max(0, this.context.currentTime - this.startedAt);
    return this.loop && now >= this.loop[1] ? this.loop[1] : Math.min(now, this.seconds);
  }

  async setTrack(name, url) {
    if (this.urls[name] === url) return;
    this.urls[name] = url;
    this.silence(name);
    if (this.playing && url) {
      const buffer = await this.buffer(url);
      if (this.playing && this.urls[name] === url) this.start(name, buffer);
    }
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

  async play() {
    this.context ??= new AudioContext();
    await this.context.resume();
    const wanted = Object.entries(this.urls).filter(([, url]) => url);
    const buffers = await Promise.all(wanted.map(([, url]) => this.buffer(url)));
    if (this.position >= this.seconds - 0.01) this.at = this.loop ? this.loop[0] : 0;
    this.startedAt = this.context.currentTime + 0.03;
    this.playing = true;
    wanted.forEach(([name], i) => this.start(name, buffers[i]));
    this.onChange();
    this.watch();
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
    this.loop = null;
    this.seconds = seconds;
  }

  watch() {
    if (!this.playing) return;
    const end = this.loop && this.at < this.loop[1] ? this.loop[1] : this.seconds;
    if (this.position >= end - 0.005) {
      if (this.loop) this.seek(this.loop[0]);
      else {
        this.pause();
        this.at = 0;
        this.onChange();
      }
      return;
    }
    this.onChange();
    requestAnimationFrame(() => this.watch());
  }

  start(name, buffer) {
    this.silence(name);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    const gain = new GainNode(this.context, { gain: this.gain(name) });
    source.connect(gain).connect(this.context.destination);
    const when = Math.max(this.startedAt, this.context.currentTime + 0.005);
    source.start(when, this.at + when - this.startedAt);
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
    const channel = name === "voice" ? "voice" : "band";
    const heard = (!this.solo || this.solo === channel) && (channel === "voice" || name === this.active);
    return heard ? gainOf(this.levels[channel]) : 0;
  }

  level() {
    for (const [name, { gain }] of Object.entries(this.tracks))
      gain.gain.setTargetAtTime(this.gain(name), this.context.currentTime, RAMP_S / 3);
  }

  async buffer(url) {
    if (!this.buffers.has(url)) {
      const pending = this.load(url).then((bytes) => this.context.decodeAudioData(bytes));
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
