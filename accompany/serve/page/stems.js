// Faders of drums, bass and other, for a take that has them: a level and a mute each.

import { levelText, t } from "/texts.js";

export const STEMS = ["drums", "bass", "other"];
const WORDS = {
  drums: () => ({ name: t("drums"), mute: t("mute_drums"), level: t("level_drums") }),
  bass: () => ({ name: t("bass"), mute: t("mute_bass"), level: t("level_bass") }),
  other: () => ({ name: t("other"), mute: t("mute_other"), level: t("level_other") }),
};

export class StemFaders {
  constructor(root, { player, onChange }) {
    Object.assign(this, { root, player, onChange });
    this.channels = Object.fromEntries(STEMS.map((stem) => [stem, this.channel(stem)]));
    root.replaceChildren(...Object.values(this.channels).map(({ row }) => row));
  }

  channel(stem) {
    const row = Object.assign(document.createElement("div"), { className: "channel stem" });
    const name = row.appendChild(document.createElement("span"));
    const mute = Object.assign(row.appendChild(document.createElement("button")), { type: "button", id: `mute-${stem}` });
    const slider = Object.assign(row.appendChild(document.createElement("input")), { type: "range", id: `level-${stem}` });
    Object.assign(slider, { min: -40, max: 6, step: 0.5, value: 0 });
    const output = row.appendChild(document.createElement("output"));
    mute.setAttribute("aria-pressed", "false");
    mute.onclick = () => {
      mute.setAttribute("aria-pressed", String(mute.getAttribute("aria-pressed") !== "true"));
      this.set(stem);
      this.onChange();
    };
    slider.oninput = () => this.set(stem);
    slider.onchange = () => this.onChange();
    return { row, name, mute, slider, output };
  }

  set(stem) {
    const { slider, output } = this.channels[stem];
    output.textContent = levelText(Number(slider.value));
    this.player.setLevel(stem, this.levels[stem]);
  }

  // In dB; what is off is silent.
  get levels() {
    const level = ({ mute, slider }) => (mute.getAttribute("aria-pressed") === "true" || slider.value <= -40 ? -60 : Number(slider.value));
    return Object.fromEntries(STEMS.map((stem) => [stem, level(this.channels[stem])]));
  }

  show(take) {
    this.root.hidden = !take?.stems.length;
    for (const stem of STEMS) {
      const { name, mute, slider, output } = this.channels[stem];
      const words = WORDS[stem]();
      name.textContent = words.name;
      mute.textContent = t("mute");
      mute.setAttribute("aria-label", words.mute);
      slider.setAttribute("aria-label", words.level);
      output.textContent = levelText(Number(slider.value));
      mute.disabled = slider.disabled = !take?.stems.includes(stem);
    }
  }
}
