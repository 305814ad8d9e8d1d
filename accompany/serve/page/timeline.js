// Draws voice, pitch, beats, chords and the take that sounds; a drag chooses a region, a tap moves there.

import { t } from "/texts.js";

const CHORDS = 24;
const EDGE = 9;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Timeline {
  constructor(canvas, { onSeek, onRegion, snaps }) {
    Object.assign(this, { canvas, onSeek, onRegion, snaps });
    this.still = document.createElement("canvas");
    this.vocal = null;
    this.take = null;
    this.region = null;
    this.position = 0;
    new ResizeObserver(() => this.redraw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(vocal, take) {
    Object.assign(this, { vocal, take });
    this.redraw();
  }

  select(region) {
    this.region = region;
    this.paint();
  }

  moveTo(seconds) {
    this.position = seconds;
    this.canvas.setAttribute("aria-valuenow", seconds.toFixed(1));
    this.canvas.setAttribute("aria-valuemax", this.vocal?.seconds ?? 0);
    this.canvas.setAttribute("aria-valuetext", `${seconds.toFixed(1)} s`);
    this.paint();
  }

  get plan() {
    return this.take?.plan ?? this.vocal?.plan;
  }

  x(seconds) {
    return (seconds / this.vocal.seconds) * this.width;
  }

  redraw() {
    const scale = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    if (!this.vocal || !this.width) return;
    for (const canvas of [this.canvas, this.still]) {
      canvas.width = Math.round(this.width * scale);
      canvas.height = Math.round(this.height * scale);
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    const pen = this.still.getContext("2d");
    const split = CHORDS + Math.round((this.height - CHORDS) * 0.62);
    this.drawBeats(pen);
    this.drawWave(pen, this.vocal.waveform, CHORDS, split, colour("voice-soft"));
    if (this.take) this.drawWave(pen, this.take.waveform, split, this.height, colour("band-soft"));
    this.drawPitch(pen, CHORDS + 8, split - 8);
    this.drawChords(pen);
    this.label(pen, t("voice"), CHORDS + 14, "voice");
    this.label(pen, this.take ? t("band_take", { n: this.take.number }) : t("band_nothing"), split + 14, "band");
    pen.fillStyle = colour("line");
    pen.fillRect(0, split, this.width, 1);
    this.paint();
  }

  label(pen, text, y, name) {
    pen.font = "600 11px system-ui, sans-serif";
    pen.lineWidth = 3;
    pen.strokeStyle = colour("well");
    pen.strokeText(text, 8, y);
    pen.fillStyle = colour(name);
    pen.fillText(text, 8, y);
  }

  drawWave(pen, peaks, top, bottom, fill) {
    const middle = (top + bottom) / 2;
    const reach = (bottom - top) / 2 - 6;
    const loudest = Math.max(...peaks, 0.05);
    pen.fillStyle = fill;
    for (let x = 0; x < this.width; x++) {
      const first = Math.floor((x / this.width) * peaks.length);
      const last = Math.max(first + 1, Math.floor(((x + 1) / this.width) * peaks.length));
      const size = Math.max(0.5, (Math.max(...peaks.slice(first, last)) / loudest) * reach);
      pen.fillRect(x, middle - size, 1, 2 * size);
    }
  }

  drawPitch(pen, top, bottom) {
    const { pitch } = this.vocal;
    if (!pitch) return;
    const heights = pitch.hz.map((hz) => (hz > 0 ? Math.log2(hz) : null));
    const sung = heights.filter((height) => height !== null).sort((a, b) => a - b);
    if (sung.length < 5) return;
    const low = sung[Math.floor(sung.length * 0.02)] - 0.15;
    const high = sung[Math.ceil(sung.length * 0.98) - 1] + 0.15;
    const at = (height) => bottom - ((height - low) / (high - low)) * (bottom - top);
    pen.strokeStyle = colour("pitch");
    pen.fillStyle = colour("pitch");
    pen.globalAlpha = 0.35;
    for (const [start, end, midi] of this.vocal.notes ?? []) {
      const height = Math.log2(440) + (midi - 69) / 12;
      if (height >= low && height <= high) pen.fillRect(this.x(start), at(height) - 4, this.x(end - start), 8);
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.beginPath();
    let previous = null;
    heights.forEach((height, i) => {
      const inside = height !== null && height >= low && height <= high;
      if (inside) {
        const y = at(height);
        const joined = previous !== null && Math.abs(height - previous) < 0.25;
        pen[joined ? "lineTo" : "moveTo"](this.x((i + 0.5) * pitch.hop_s), y);
      }
      previous = inside ? height : null;
    });
    pen.stroke();
  }

  drawBeats(pen) {
    const beats = this.plan?.beats_s ?? [];
    const gap = beats.length > 1 ? this.x(beats[1] - beats[0]) : this.width;
    pen.fillStyle = colour("beat");
    if (gap > 5) for (const beat of beats) pen.fillRect(this.x(beat), CHORDS, 1, this.height);
    pen.font = "10px system-ui, sans-serif";
    let free = 0;
    (this.plan?.downbeats_s ?? []).forEach((beat, i) => {
      const x = this.x(beat);
      pen.fillStyle = colour("bar");
      if (gap * 4 > 5) pen.fillRect(x, CHORDS, 1, this.height);
      if (x >= free && x < this.width - 12) {
        pen.fillText(String(i + 1), x + 3, this.height - 4);
        free = x + 26;
      }
    });
  }

  drawChords(pen) {
    pen.font = "600 12px system-ui, sans-serif";
    let shown = null;
    let free = 0;
    for (const { start_s, label } of this.plan?.chords ?? []) {
      const x = this.x(start_s);
      if (label === shown) continue;
      shown = label;
      pen.fillStyle = colour("line");
      pen.fillRect(x, 0, 1, CHORDS);
      if (x < free) continue;
      const text = chordName(label);
      pen.fillStyle = colour("ink");
      pen.fillText(text, x + 4, 16);
      free = x + 10 + pen.measureText(text).width;
    }
  }

  paint() {
    if (!this.vocal || !this.width) return;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.width, this.height);
    if (this.region) {
      const [from, to] = this.region.map((seconds) => this.x(seconds));
      pen.fillStyle = colour("region");
      pen.fillRect(from, 0, to - from, this.height);
    }
    pen.drawImage(this.still, 0, 0, this.width, this.height);
    if (this.region) {
      pen.fillStyle = colour("edge");
      for (const seconds of this.region) pen.fillRect(this.x(seconds) - 1, 0, 2, this.height);
    }
    pen.fillStyle = colour("ink");
    pen.fillRect(this.x(this.position) - 1, 0, 2, this.height);
  }

  seconds(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.max(0, Math.min(1, share)) * this.vocal.seconds;
  }

  snapped(seconds) {
    const beats = this.snaps() ? (this.plan?.beats_s ?? []) : [];
    const points = [0, ...beats, this.vocal.seconds].filter((beat) => beat >= 0 && beat <= this.vocal.seconds);
    if (!beats.length) return seconds;
    return points.reduce((best, beat) => (Math.abs(beat - seconds) < Math.abs(best - seconds) ? beat : best));
  }

  nearEdge(event) {
    if (!this.region) return -1;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    return this.region.findIndex((seconds) => Math.abs(this.x(seconds) - x) < EDGE);
  }

  hover(event) {
    if (this.vocal) this.canvas.style.cursor = this.nearEdge(event) >= 0 ? "ew-resize" : "crosshair";
  }

  down(event) {
    if (!this.vocal || event.button !== 0) return;
    const edge = this.nearEdge(event);
    const anchor = edge >= 0 ? this.region[1 - edge] : this.seconds(event);
    const startX = event.clientX;
    let moved = edge >= 0;
    this.canvas.setPointerCapture(event.pointerId);
    const move = (next) => {
      moved ||= Math.abs(next.clientX - startX) > 5;
      if (!moved) return;
      const ends = [anchor, this.seconds(next)].sort((a, b) => a - b).map((seconds) => this.snapped(seconds));
      if (ends[1] > ends[0]) this.onRegion(ends);
    };
    const stop = (last) => {
      this.canvas.removeEventListener("pointermove", move);
      this.canvas.removeEventListener("pointerup", stop);
      this.canvas.removeEventListener("pointercancel", stop);
      if (!moved && last.type === "pointerup") this.onSeek(this.seconds(last));
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", stop);
    this.canvas.addEventListener("pointercancel", stop);
  }

  key(event) {
    if (!this.vocal) return;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    const end = { Home: 0, End: this.vocal.seconds }[event.key];
    const edge = { "[": 0, "]": 1 }[event.key];
    if (step) this.onSeek(this.position + step * (event.shiftKey ? 5 : 1));
    else if (end !== undefined) this.onSeek(end);
    else if (edge !== undefined) this.choose(edge);
    else return;
    event.preventDefault();
  }

  // Put an end of the region where it stands; the other end stays, or is that of the song.
  choose(edge) {
    const ends = [...(this.region ?? [0, this.vocal.seconds])];
    ends[edge] = this.snapped(this.position);
    if (ends[1] > ends[0]) this.onRegion(ends);
  }
}

const QUALITIES = { maj: "", min: "m", "7": "7", maj7: "maj7", min7: "m7", dim: "dim", aug: "aug", sus4: "sus4", sus2: "sus2" };

export function chordName(label) {
  if (label === "N" || label === "X") return "–";
  const [root, rest = "maj"] = label.split(":");
  const [quality, bass] = rest.split("/");
  return root + (QUALITIES[quality] ?? quality) + (bass ? `/${bass}` : "");
}
