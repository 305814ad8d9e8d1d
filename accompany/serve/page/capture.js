// Runs beside the page, on the audio thread: hands the microphone to the recorder, some twenty times a second.
const SIZE = 2048;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(SIZE);
    this.filled = 0;
  }

  process([input]) {
    if (!input.length) return true;
    this.block.set(input[0], this.filled);
    this.filled += input[0].length;
    if (this.filled === SIZE) {
      this.port.postMessage(this.block);
      this.block = new Float32Array(SIZE);
      this.filled = 0;
    }
    return true;
  }
}
registerProcessor("capture", Capture);
